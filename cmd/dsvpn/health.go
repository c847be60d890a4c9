package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/textproto"
	"strconv"
	"strings"
	"sync"
	"time"

	"dsvpn/session"
)

const (
	// healthTimeout bounds each question about health, on both sides. Nothing
	// that is asked for takes time.
	healthTimeout = 5 * time.Second

	// maxQuestions is how many may be waiting for their answer at a time, and
	// maxQuestion how long one may be, in bytes.
	maxQuestions = 16
	maxQuestion  = 4096
)

// questions about health, by their path in HTTP.
var questions = map[string]func(session.Report) error{
	alivePath: session.Report.Alive,
	readyPath: session.Report.Ready,
}

const (
	alivePath = "/healthz" // if the answer is no, a restart helps
	readyPath = "/readyz"  // packets come through

	statusYes = "200 OK"
	statusNo  = "503 Service Unavailable"
)

// health answers questions about a tunnel, in as much of HTTP as that takes:
// package net/http would make the program bigger by two thirds. There is a
// socket for dsvpn health, which needs no shell, no file and no port, and an
// address for others where the options have one.
type health struct {
	status    *session.Status
	log       *slog.Logger
	slots     chan struct{}
	listeners []net.Listener
	serving   sync.WaitGroup
}

// newHealth starts to answer at the address of the options, if they have one.
func (p *program) newHealth(ctx context.Context, o options, status *session.Status) (*health, error) {
	h := &health{status: status, log: p.log, slots: make(chan struct{}, maxQuestions)}
	if o.Health == "" {
		return h, nil
	}
	host, service, err := net.SplitHostPort(o.Health)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return nil, err
	}
	// With the mark of the tunnel's own connection: the answers must go back
	// the way that the question came, not into the tunnel.
	l, err := session.Listen(ctx, session.Config{Mark: o.Net.Mark}, host, uint16(port))
	if err != nil {
		return nil, fmt.Errorf("--health: %w", err)
	}
	h.serve(l)
	return h, nil
}

// attend starts to answer dsvpn health about an interface. The tunnel works
// without.
func (h *health) attend(ctx context.Context, tun string) {
	l, err := listenLocal(ctx, tun)
	if err != nil {
		h.log.Warn("dsvpn health will not work", "err", err)
		return
	}
	h.serve(l)
}

// serve answers all who come to l, a limited number at a time, until close.
func (h *health) serve(l net.Listener) {
	h.listeners = append(h.listeners, l)
	h.serving.Go(func() {
		for {
			conn, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil { // such as too many open files
				h.log.Warn("question about health lost", "err", err)
				time.Sleep(healthTimeout / maxQuestions)
				continue
			}
			h.slots <- struct{}{}
			h.serving.Go(func() {
				defer func() { <-h.slots }()
				defer conn.Close()
				if err := h.answer(conn); err != nil {
					h.log.Debug("question about health not answered", "remote", conn.RemoteAddr(), "err", err)
				}
			})
		}
	})
}

// close stops answering.
func (h *health) close() {
	for _, l := range h.listeners {
		l.Close()
	}
}

// answer answers one question: with 200 for yes and 503 for no, and a line
// that says how the session is.
func (h *health) answer(conn net.Conn) error {
	if err := conn.SetDeadline(time.Now().Add(healthTimeout)); err != nil {
		return err
	}
	in := textproto.NewReader(bufio.NewReader(io.LimitReader(conn, maxQuestion)))
	line, err := in.ReadLine()
	if err != nil {
		return err
	}
	if _, err := in.ReadMIMEHeader(); err != nil { // all of it, or the answer might get lost
		return err
	}
	status, text := h.verdict(strings.Fields(line))
	_, err = fmt.Fprintf(conn, "HTTP/1.1 %s\r\nContent-Type: text/plain; charset=utf-8\r\n"+
		"Content-Length: %d\r\nConnection: close\r\n\r\n%s\n", status, len(text)+1, text)
	return err
}

// verdict returns the answer to a request line.
func (h *health) verdict(request []string) (status, text string) {
	if len(request) != 3 || request[0] != "GET" {
		return "400 Bad Request", "the question must be GET"
	}
	question := questions[request[1]]
	if question == nil {
		return "404 Not Found", fmt.Sprintf("there are %s and %s", alivePath, readyPath)
	}
	report := h.status.Report()
	if question(report) != nil {
		return statusNo, report.String()
	}
	return statusYes, report.String()
}

// healthCommand asks the program that runs in this network namespace.
func (p *program) healthCommand(ctx context.Context, args []string) error {
	live := option{name: "--live", boolean: true}
	given, err := split(args, []option{tunWord}, []option{live})
	if err != nil {
		return err
	}
	var o options
	if err := o.apply([]option{tunWord}, given, p.env); err != nil {
		return err
	}
	path := readyPath
	if isOn(given, live) {
		path = alivePath
	}
	names := []string{o.Net.Interface}
	if o.Net.Interface == "" {
		if names, err = localNames(); err != nil {
			return err
		}
	}
	if len(names) == 0 {
		return errors.New("no tunnel is up in this network namespace")
	}
	for _, tun := range names {
		report, askErr := askHealth(ctx, tun, path)
		if askErr != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", tun, askErr))
		} else {
			err = errors.Join(err, p.print(fmt.Sprintf("%s: %s\n", tun, report)))
		}
	}
	return err
}

// askHealth returns the answer about one interface, or as an error if it is not yes.
func askHealth(ctx context.Context, tun, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	conn, err := dialLocal(ctx, tun)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(healthTimeout)); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.0\r\n\r\n", path); err != nil {
		return "", err
	}
	in := bufio.NewReader(io.LimitReader(conn, maxQuestion))
	head := textproto.NewReader(in)
	status, err := head.ReadLine()
	if err != nil {
		return "", err
	}
	if _, err := head.ReadMIMEHeader(); err != nil {
		return "", err
	}
	text, err := io.ReadAll(in)
	report := strings.TrimSpace(string(text))
	if _, code, _ := strings.Cut(status, " "); err == nil && code != statusYes {
		err = errors.New(report)
	}
	return report, err
}
