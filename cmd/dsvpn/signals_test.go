package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"testing"

	"dsvpn/netcfg"
)

// tell is a log handler that hands each message to a test.
type tell chan string

func (t tell) Enabled(context.Context, slog.Level) bool { return true }
func (t tell) WithAttrs([]slog.Attr) slog.Handler       { return t }
func (t tell) WithGroup(string) slog.Handler            { return t }
func (t tell) Handle(_ context.Context, r slog.Record) error {
	t <- r.Message
	return nil
}

func TestSignals(t *testing.T) {
	messages := make(tell)
	ctx, stop := withSignals(t.Context(), slog.New(messages))
	defer stop()

	send := func(s syscall.Signal, want string) {
		t.Helper()
		if err := syscall.Kill(os.Getpid(), s); err != nil {
			t.Fatal(err)
		}
		if got := <-messages; got != want {
			t.Fatalf("after %v the log says %q, want %q", s, got, want)
		}
	}
	// Whoever runs the test may have made it ignore some of them, as nohup
	// does, and then they stay ignored.
	signals := slices.DeleteFunc([]syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM},
		func(s syscall.Signal) bool { return signal.Ignored(s) })
	send(signals[0], "stopping")
	<-ctx.Done()
	for _, s := range signals {
		send(s, "already stopping")
	}

	var cause *signalError
	if !errors.As(context.Cause(ctx), &cause) || cause.Signal != signals[0] {
		t.Errorf("cause is %v, want the first signal", context.Cause(ctx))
	}
	var out bytes.Buffer
	p := &program{stdout: &out, stderr: &out}
	if code := p.report(command{}, context.Cause(ctx)); code != exitOK || out.Len() > 0 {
		t.Errorf("stopped by a signal: exit code %d, output %q", code, out.String())
	}
}

// A stop by a signal that leaves the host changed is no success.
func TestSignalAndUndoFails(t *testing.T) {
	var out bytes.Buffer
	p := &program{stdout: &out, stderr: &out}
	err := errors.Join(&signalError{syscall.SIGTERM}, &netcfg.UndoError{Err: errors.New("operation not permitted")})
	if code := p.report(command{}, err); code != exitError || !strings.Contains(out.String(), "could not be put back") {
		t.Errorf("exit code %d, output %q", code, out.String())
	}
}

// A reader of the log that goes away must not take the tunnel with it.
func TestBrokenPipe(t *testing.T) {
	ctx, stop := withSignals(t.Context(), slog.New(slog.DiscardHandler))
	defer stop()
	if err := syscall.Kill(os.Getpid(), syscall.SIGPIPE); err != nil {
		t.Fatal(err)
	}
	if ctx.Err() != nil {
		t.Error("a broken pipe ended the context")
	}
}

func TestLog(t *testing.T) {
	for _, tt := range []struct {
		name string
		o    options
		env  environment
		want string
	}{
		{"journal", options{}, environment{"JOURNAL_STREAM": "8:1"}, "INF Interface: [tun0] mtu=9000\n"},
		{"level", options{LogLevel: slog.LevelWarn}, nil, ""},
	} {
		var out bytes.Buffer
		newLogger(&out, tt.o, tt.env).Info("Interface: [tun0]", "mtu", 9000)
		if out.String() != tt.want {
			t.Errorf("%s: log is %q, want %q", tt.name, out.String(), tt.want)
		}
	}

	var out bytes.Buffer
	newLogger(&out, options{}, nil).Info("Session established")
	if _, message, _ := strings.Cut(out.String(), " INF "); message != "Session established\n" {
		t.Errorf("log is %q", out.String())
	}
	out.Reset()
	newLogger(&out, options{LogFormat: logJSON}, nil).Info("Connected")
	if !strings.Contains(out.String(), `"level":"INFO","msg":"Connected"}`) {
		t.Errorf("log is %q", out.String())
	}
}
