package session

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestLoadKey(t *testing.T) {
	binary := bytes.Repeat([]byte{0x00, 0xff}, 16)
	hexText := []byte("000102030405060708090A0B0C0D0E0F101112131415161718191a1b1c1d1e1f\n")
	base64Text := []byte("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n")
	for _, tt := range []struct {
		name    string
		content []byte
		mode    os.FileMode
		warning string // part of the only one
		err     string // part of it
	}{
		{"32 bytes", binary, 0o600, "", ""},
		{"read only", binary, 0o400, "", ""},
		{"2048 bytes", bytes.Repeat(binary, 64), 0o600, "", ""},
		{"more than is read", bytes.Repeat(binary, 1000), 0o600, "", ""},
		{"hex", hexText, 0o600, "looks like hex text: the key is its first 32 characters as they are", ""},
		{"base64", base64Text, 0o600, "looks like base64 text", ""},
		{"open to all", binary, 0o644, "chmod 600 ", ""},
		{"open to the group", binary, 0o640, "mode 0640", ""},
		{"31 bytes", binary[:31], 0o600, "", "is 31 bytes long, and must have at least 32: dsvpn keygen makes one"},
		{"empty", nil, 0o600, "", "is 0 bytes long"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "key")
			if err := os.WriteFile(path, tt.content, tt.mode); err != nil {
				t.Fatal(err)
			}
			os.Chmod(path, tt.mode) // whatever the umask is
			link := path + ".link"
			if err := os.Symlink(path, link); err != nil {
				t.Fatal(err)
			}
			key, warnings, err := LoadKey(link)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("err = %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil || !bytes.Equal(key[:], tt.content[:32]) {
				t.Fatalf("key %x, err %v", key[:], err)
			}
			all := strings.Join(warnings, "\n")
			if (tt.warning == "") != (len(warnings) == 0) || len(warnings) > 1 || !strings.Contains(all, tt.warning) {
				t.Errorf("warnings %q, want %q", warnings, tt.warning)
			}
		})
	}
}

// What is no file must be refused at once, not waited for.
func TestLoadKeyNoFile(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, fifo, "/dev/zero", filepath.Join(dir, "missing")} {
		if _, _, err := LoadKey(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("LoadKey(%s): %v", path, err)
		}
	}
}

func TestParseKey(t *testing.T) {
	key, err := NewKey(bytes.NewReader(bytes.Repeat([]byte{0xfb}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	if back, err := ParseKey(" \t" + key.Base64() + "\r\n"); err != nil || back != key {
		t.Errorf("ParseKey(Base64()) = %x, %v", back[:], err)
	}
	for text, want := range map[string]string{
		"":         "decodes to 0 bytes",
		"AAAA":     "decodes to 3 bytes",
		"a b":      "not base64",
		"-_-_":     "not base64",
		"AAAAA":    "not base64",
		"AAAA====": "not base64",
	} {
		if _, err := ParseKey(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseKey(%q): %v, want %q", text, err, want)
		}
	}
	if _, err := NewKey(bytes.NewReader(make([]byte, 31))); err == nil {
		t.Error("NewKey is content with 31 random bytes")
	}
}

func TestKeyStaysSecret(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	cfg := Config{Key: testKey}
	log.Info("", "key", testKey, "config", cfg, "pointer", &cfg)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		fmt.Fprintf(&out, verb+verb+verb+"\n", testKey, &testKey, cfg)
	}
	for _, secret := range []string{string(testKey[:8]), fmt.Sprintf("%x", string(testKey[:8])), "48 49 50", "0x30, 0x31"} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("%q is printed in %s", secret, out.String())
		}
	}
}
