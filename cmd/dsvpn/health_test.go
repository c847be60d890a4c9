package main

import (
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dsvpn/session"
)

// A question that is no question gets an answer too, or none, and nobody is
// waited for longer than healthTimeout.
func TestHealthQuestions(t *testing.T) {
	for _, tt := range []struct{ question, answer string }{
		{"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK\r\n"},
		{"GET /readyz HTTP/1.0\n\n", "HTTP/1.1 503 Service Unavailable\r\n"},
		{"GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 404 Not Found\r\n"},
		{"POST /healthz HTTP/1.1\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n"},
		{"hello\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n"},
		{"GET /healthz HTTP/1.1\r\nHost: x\r\n", ""}, // and then silence
		{strings.Repeat("x", maxQuestion+1), ""},
		{"", ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := &health{status: session.NewStatus(), log: slog.New(slog.DiscardHandler), slots: make(chan struct{}, 1)}
			near, far := net.Pipe()
			start := time.Now()
			go func() {
				h.answer(far)
				far.Close()
			}()
			go near.Write([]byte(tt.question))
			answer, err := io.ReadAll(near)
			near.Close()
			if status, _, _ := strings.Cut(string(answer), "Content-Type"); err != nil || status != tt.answer {
				t.Errorf("%.40q is answered with %q (%v), want %q", tt.question, answer, err, tt.answer)
			}
			if took := time.Since(start); took > healthTimeout {
				t.Errorf("%.40q takes %v", tt.question, took)
			}
		})
	}
}
