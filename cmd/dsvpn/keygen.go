package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"dsvpn/session"
)

// maxImport bounds what is read of a key that is pasted in.
const maxImport = 4096

// keygen makes a key file, or moves a key between hosts as text.
func (p *program) keygen(_ context.Context, args []string) error {
	show, take := option{name: "--show", boolean: true}, option{name: "--import", boolean: true}
	given, err := split(args, []option{{name: "FILE"}}, []option{show, take})
	if err != nil {
		return err
	}
	path, showing, taking := given["FILE"], isOn(given, show), isOn(given, take)
	switch {
	case path == "":
		return usagef("FILE is missing: name the key file")
	case showing && taking:
		return usagef("%s and %s exclude each other", show.name, take.name)
	case showing:
		return p.showKey(path)
	case taking:
		return p.importKey(path)
	}
	return p.newKey(path)
}

func (p *program) newKey(path string) error {
	key, err := session.NewKey(rand.Reader)
	if err != nil {
		return err
	}
	if err := writeKey(path, key); err != nil {
		return err
	}
	fmt.Fprintf(p.stderr, `wrote a new key to %[1]s
the other side needs the same key; over a channel that you trust:
    here:  dsvpn keygen --show %[1]s
    there: dsvpn keygen --import %[1]s
`, path)
	return nil
}

// showKey prints the base64 form of the key in a file.
func (p *program) showKey(path string) error {
	key, notes, err := session.LoadKey(path)
	for _, note := range notes {
		fmt.Fprintln(p.stderr, "dsvpn:", note)
	}
	if err != nil {
		return err
	}
	return p.print(key.Base64() + "\n")
}

// importKey reads the base64 form of a key from standard input: on a command
// line every user of the host could see it.
func (p *program) importKey(path string) error {
	if isTerminal(p.stdin) {
		fmt.Fprintln(p.stderr, "paste the key, then Enter and Control-D:")
	}
	text, err := io.ReadAll(io.LimitReader(p.stdin, maxImport))
	if err != nil {
		return fmt.Errorf("standard input: %w", err)
	}
	key, err := session.ParseKey(string(text))
	if err != nil {
		return fmt.Errorf("standard input: %w", err)
	}
	if err := writeKey(path, key); err != nil {
		return err
	}
	fmt.Fprintln(p.stderr, "wrote the key to", path)
	return nil
}

// writeKey creates a file that only its owner can read. A file that it could
// not finish is removed.
func writeKey(path string, key session.Key) (err error) {
	const ownerOnly = 0o600
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, ownerOnly)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists already: a key is never overwritten", path)
	}
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			err = errors.Join(err, os.Remove(path))
		}
	}()
	if err := f.Chmod(ownerOnly); err != nil { // whatever the umask has left of it
		return err
	}
	if _, err := f.Write(key[:]); err != nil {
		return err
	}
	return f.Sync()
}
