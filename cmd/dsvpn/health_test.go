package main

import (
	"bufio"
	"bytes"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
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

// asked is a connection on which everything has been said.
type asked struct {
	net.Conn
	io.Reader
	answer bytes.Buffer
}

func (c *asked) Read(b []byte) (int, error)  { return c.Reader.Read(b) }
func (c *asked) Write(b []byte) (int, error) { return c.answer.Write(b) }
func (c *asked) SetDeadline(time.Time) error { return nil }

// Every question that is finished has one answer, which any program that knows
// HTTP understands.
func FuzzHealthQuestion(f *testing.F) {
	for _, question := range []string{
		"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", "GET /readyz HTTP/1.0\n\n", "POST / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", "\r\n\r\n",
	} {
		f.Add([]byte(question))
	}
	f.Fuzz(func(t *testing.T, question []byte) {
		h := &health{status: session.NewStatus(), log: slog.New(slog.DiscardHandler)}
		conn := &asked{Reader: bytes.NewReader(question)}
		err := h.answer(conn)
		answer := conn.answer.Bytes()
		if (len(answer) == 0) != (err != nil) {
			t.Errorf("%q: %v", answer, err)
		}
		if len(answer) == 0 {
			return
		}
		in := bufio.NewReader(bytes.NewReader(answer))
		response, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatalf("%q: %v", answer, err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil || len(text) == 0 || !slices.Contains([]int{200, 400, 404, 503}, response.StatusCode) {
			t.Errorf("%q: %q, %v", answer, text, err)
		}
		if rest, _ := io.ReadAll(in); len(rest) > 0 {
			t.Errorf("%q follows the answer", rest)
		}
	})
}
