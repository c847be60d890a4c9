package main

import (
	"io"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"github.com/lmittmann/tint"
)

type logFormat string

const (
	logText logFormat = "text" // for people, and for scripts that wait for a message
	logJSON logFormat = "json" // one object a line
)

// startLog makes the log that all that follows is written to.
func (p *program) startLog(o options) {
	p.log = newLogger(p.stderr, o, p.env)
	for _, name := range p.env.strangers() {
		p.log.Warn("unknown environment variable", "name", name)
	}
}

// newLogger writes to standard error. Text leaves messages as they are,
// unquoted: scripts wait for "Interface: [tun0]" and "Connected".
func newLogger(w io.Writer, o options, env environment) *slog.Logger {
	if o.LogFormat == logJSON {
		return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: o.LogLevel}))
	}
	h := &tint.Options{
		Level:      o.LogLevel,
		TimeFormat: time.DateTime,
		NoColor:    env["NO_COLOR"] != "" || env["TERM"] == "dumb" || !isTerminal(w),
	}
	if env["JOURNAL_STREAM"] != "" { // the journal writes the time itself
		h.ReplaceAttr = dropTime
	}
	return slog.New(tint.NewTextHandler(w, h))
}

func dropTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

// isTerminal takes every character device for a terminal: the one other that
// logs go to, /dev/null, does not mind colours.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&fs.ModeCharDevice != 0
}
