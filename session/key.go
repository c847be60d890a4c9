package session

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"syscall"

	"dsvpn/session/charm"
)

// maxKeyFile is how many bytes of a key file are looked at. Only the first 32
// are the key; the rest tells whether the file was meant as text.
const maxKeyFile = 4096

// Key is the secret that two peers share. It never prints itself.
type Key [charm.KeySize]byte

// NewKey makes a key from 32 bytes of random.
func NewKey(random io.Reader) (key Key, err error) {
	if _, err := io.ReadFull(random, key[:]); err != nil {
		return Key{}, fmt.Errorf("make a key: %w", err)
	}
	return key, nil
}

// ParseKey decodes what [Key.Base64] returns, and ignores white space around
// it.
func ParseKey(text string) (Key, error) {
	b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	defer clear(b)
	if err != nil {
		// The error of the package quotes nothing of the key.
		return Key{}, fmt.Errorf("key is not base64: %w", err)
	}
	if len(b) != charm.KeySize {
		return Key{}, fmt.Errorf("key decodes to %d bytes, and must have %d", len(b), charm.KeySize)
	}
	return Key(b), nil
}

// Base64 is the key as one line of text, with padding.
func (k Key) Base64() string { return base64.StdEncoding.EncodeToString(k[:]) }

// ID tells keys apart, and tells nothing else about them: 16 hexadecimal digits.
func (k Key) ID() string {
	state := charm.New((*[charm.KeySize]byte)(&k), (*[charm.IVSize]byte)([]byte("dsvpn key digest")))
	sum := state.Hash(nil)
	return hex.EncodeToString(sum[:8])
}

const hiddenKey = "[key]"

// String hides the key.
func (Key) String() string { return hiddenKey }

// Format hides the key from every verb of package fmt.
func (Key) Format(f fmt.State, _ rune) { io.WriteString(f, hiddenKey) }

// LogValue hides the key from logs.
func (Key) LogValue() slog.Value { return slog.StringValue(hiddenKey) }

// LoadKey reads a key file: its first 32 bytes, as they are, are the key. A
// shorter file is an error. The warnings are about a file that works and that
// its owner may want to mend.
//
// Only a regular file, or a symbolic link to one, will do: anything else
// might wait for ever.
func LoadKey(path string) (key Key, warnings []string, err error) {
	content, mode, err := readKeyFile(path)
	if err != nil {
		return Key{}, nil, fmt.Errorf("key file: %w", err)
	}
	defer clear(content)

	if mode.Perm()&0o077 != 0 {
		warnings = append(warnings, fmt.Sprintf("key file %s can be used by other users of this host (mode %04o): chmod 600 %[1]s",
			path, mode.Perm()))
	}
	key, warning, err := keyFromContent(content)
	if err != nil {
		return Key{}, nil, fmt.Errorf("key file %s %w", path, err)
	}
	if warning != "" {
		warnings = append(warnings, fmt.Sprintf("key file %s %s", path, warning))
	}
	return key, warnings, nil
}

// readKeyFile returns the start of a regular file.
func readKeyFile(path string) (content []byte, mode os.FileMode, err error) {
	// Without O_NONBLOCK, to open a FIFO would wait for somebody to write.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()

	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%s is not a regular file", path)
	}
	// One buffer, so that the caller can wipe all there is of it: one that
	// grows would leave its former selves behind.
	content = make([]byte, maxKeyFile)
	n, err := io.ReadFull(f, content)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = nil // most are shorter
	}
	return content[:n], info.Mode(), err
}

// keyFromContent takes the key from the start of a key file. The warning says
// what is used where that may surprise.
func keyFromContent(content []byte) (key Key, warning string, err error) {
	if len(content) < charm.KeySize {
		return Key{}, "", errors.New(shortKeyFile(len(content)))
	}
	copy(key[:], content)
	if kind := textKind(content); kind != "" {
		warning = fmt.Sprintf("looks like %s text: the key is its first %d characters as they are, not decoded",
			kind, charm.KeySize)
	}
	return key, warning, nil
}

func shortKeyFile(n int) string {
	return fmt.Sprintf("is %d bytes long, and must have at least %d: dsvpn keygen makes one", n, charm.KeySize)
}

const (
	hexDigits    = "0123456789abcdefABCDEF"
	base64Digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_="
)

// textKind says which encoding the bytes that are used as the key seem to be
// in. Of random bytes, one file in 2^64 looks like base64.
func textKind(content []byte) string {
	used := content[:charm.KeySize]
	switch {
	case len(bytes.Trim(used, hexDigits+" \r\n")) == 0:
		return "hex"
	case len(bytes.Trim(used, base64Digits+" \r\n")) == 0:
		return "base64"
	}
	return ""
}
