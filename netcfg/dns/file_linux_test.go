package dns

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"dsvpn/netcfg/netlab/netlabtest"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var (
	wanted = Setting{Way: File, Interface: "tun0", Servers: addrs("10.0.0.1", "10.0.0.2")}
	ours   = wanted.render()
)

const theirs = "# odd: no line feed at the end, a zero byte \x00\r\nsearch lan\nnameserver 192.0.2.53"

// kinds are what a resolv.conf can be. Each makes one in an empty folder.
var kinds = map[string]func(t *testing.T, path string){
	"file": func(t *testing.T, path string) {
		must(t, os.WriteFile(path, []byte(theirs), 0o600))
		must(t, os.Chmod(path, 0o640))
	},
	"empty file": func(t *testing.T, path string) { must(t, os.WriteFile(path, nil, 0o644)) },
	"link": func(t *testing.T, path string) {
		must(t, os.WriteFile(filepath.Join(filepath.Dir(path), "target"), []byte(theirs), 0o644))
		must(t, os.Symlink("target", path))
	},
	"link to nowhere": func(t *testing.T, path string) { must(t, os.Symlink("../nowhere/target", path)) },
	"nothing":         func(*testing.T, string) {},
	"mount": func(t *testing.T, path string) {
		netlabtest.Mounts(t)
		source := filepath.Join(t.TempDir(), "source")
		must(t, os.WriteFile(source, []byte(theirs), 0o640))
		must(t, os.WriteFile(path, nil, 0o644))
		must(t, unix.Mount(source, path, "", unix.MS_BIND, ""))
		t.Cleanup(func() { must(t, unix.Unmount(path, 0)) })
	},
}

// eachKind runs a test on each kind.
func eachKind(t *testing.T, test func(t *testing.T, kind string, f file)) {
	for kind, build := range kinds {
		t.Run(kind, func(t *testing.T) {
			f := file{filepath.Join(t.TempDir(), "resolv.conf")}
			build(t, f.path)
			t.Cleanup(func() { release(f.path) })
			test(t, kind, f)
		})
	}
}

// folder describes all that is in the folder of a file: even the inode must be
// the same in the end.
func (f file) folder(t *testing.T) (lines []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(f.path))
	must(t, err)
	for _, e := range entries {
		path := filepath.Join(filepath.Dir(f.path), e.Name())
		var st unix.Stat_t
		must(t, unix.Lstat(path, &st))
		target, _ := os.Readlink(path)
		content, _ := os.ReadFile(path)
		line := fmt.Sprintf("%s mode %o %q %q", e.Name(), st.Mode, target, content)
		if target == "" { // a link is as good as another
			line += fmt.Sprint(" inode ", st.Ino)
		}
		lines = append(lines, line)
	}
	return lines
}

func wantFolder(t *testing.T, what string, f file, want []string) {
	t.Helper()
	if diff := cmp.Diff(want, f.folder(t)); diff != "" {
		t.Errorf("%s: the folder differs (-want +got):\n%s", what, diff)
	}
}

func wantContent(t *testing.T, path, want string) {
	t.Helper()
	got, err := os.ReadFile(path)
	must(t, err)
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func TestReplaceAndPutBack(t *testing.T) {
	eachKind(t, func(t *testing.T, kind string, f file) {
		before := f.folder(t)
		must(t, f.can())
		if got, want := f.isMount(), kind == "mount"; got != want {
			t.Errorf("it is a mount: %v, want %v", got, want)
		}
		had := f.read().Servers
		must(t, f.replace(ours))
		wantContent(t, f.path, string(ours))
		if h := f.read(); !h.Replaced || fmt.Sprint(h.Servers) != fmt.Sprint(had) {
			t.Errorf("the host's own name servers are %v, want those from before, %v", h.Servers, had)
		}
		if found, err := f.sweep(); found || err != nil {
			t.Errorf("a sweep took it from a tunnel that is up: %v", err)
		}
		wantContent(t, f.path, string(ours))
		must(t, f.replace(append([]byte(nil), wanted.render()...))) // again, to no effect
		must(t, f.putBack())
		wantFolder(t, "after it was put back", f, before)
		must(t, f.putBack()) // again, to no effect
		wantFolder(t, "after it was put back twice", f, before)
	})
}

// kills are the moments at which a process can be killed, each as what it has
// done by then.
var kills = map[string]func(t *testing.T, f file){
	"before anything":        func(*testing.T, file) {},
	"before it is kept":      func(t *testing.T, f file) { must(t, os.WriteFile(f.next(), []byte("nam"), 0o600)) },
	"after it is kept":       func(t *testing.T, f file) { must(t, f.keep()) },
	"before it is replaced":  func(t *testing.T, f file) { must(t, f.keep()); must(t, os.WriteFile(f.next(), ours, 0o644)) },
	"after it is replaced":   func(t *testing.T, f file) { must(t, f.keep()); must(t, f.put(ours)) },
	"while the tunnel is up": func(t *testing.T, f file) { must(t, f.replace(ours)); release(f.path) },
	"before it is written in place": func(t *testing.T, f file) {
		must(t, f.keep())
		if f.isMount() {
			must(t, os.WriteFile(f.next(), ours, 0o644))
			must(t, os.Truncate(f.path, 0))
		}
	},
	"after it is put back in place": func(t *testing.T, f file) {
		must(t, f.keep())
		must(t, f.put(ours))
		if f.isMount() {
			b, err := os.ReadFile(f.former())
			must(t, err)
			must(t, os.WriteFile(f.path, b, 0))
		}
	},
}

// A kill at any moment loses nothing: a sweep makes it as it was, and so does a
// new life when that ends.
func TestKill(t *testing.T) {
	for moment, kill := range kills {
		t.Run(moment, func(t *testing.T) {
			eachKind(t, func(t *testing.T, _ string, f file) {
				before := f.folder(t)
				kill(t, f)
				_, err := f.sweep()
				must(t, err)
				wantFolder(t, "after the sweep", f, before)

				kill(t, f)
				must(t, f.replace(ours))
				wantContent(t, f.path, string(ours))
				must(t, f.putBack())
				wantFolder(t, "after a new life", f, before)

				found, err := f.sweep()
				if found || err != nil {
					t.Errorf("a sweep finds something where there is nothing: %v", err)
				}
			})
		})
	}
}

// What somebody else makes of the file while ours is there stays.
func TestChangedByOthers(t *testing.T) {
	const changed = "nameserver 198.51.100.53\n"
	for name, change := range map[string]func(t *testing.T, path string){
		"written": func(t *testing.T, path string) { must(t, os.WriteFile(path, []byte(changed), 0o644)) },
		"edited":  func(t *testing.T, path string) { must(t, os.WriteFile(path, append(ours, changed...), 0o644)) },
		"replaced": func(t *testing.T, path string) {
			must(t, os.WriteFile(path+"~", []byte(changed), 0o644))
			must(t, os.Rename(path+"~", path))
		},
		"linked": func(t *testing.T, path string) {
			must(t, os.Remove(path))
			must(t, os.Symlink("elsewhere", path))
		},
		"removed": func(t *testing.T, path string) { must(t, os.Remove(path)) },
	} {
		t.Run(name, func(t *testing.T) {
			eachKind(t, func(t *testing.T, kind string, f file) {
				if kind == "mount" && name != "written" && name != "edited" || kind == "nothing" {
					return // cannot be done; is the same as what was there before
				}
				must(t, f.replace(ours))
				change(t, f.path)
				var want []string // all but what we keep beside it
				for _, line := range f.folder(t) {
					if !strings.HasPrefix(line, filepath.Base(f.former())) {
						want = append(want, line)
					}
				}
				if err := f.putBack(); !errors.Is(err, ErrChanged) {
					t.Errorf("put back: %v, want %v", err, ErrChanged)
				}
				wantFolder(t, "what they made of it", f, want)

				must(t, f.replace(ours)) // as a repair would
				wantContent(t, f.path, string(ours))
				must(t, f.putBack())
				wantFolder(t, "what they made of it, replaced and put back", f, want)
			})
		})
	}
}

// The file of a tunnel that is up is its own.
func TestInUse(t *testing.T) {
	eachKind(t, func(t *testing.T, _ string, f file) {
		must(t, f.replace(ours))
		holds.Lock()
		other := holds.files[f.path]
		delete(holds.files, f.path) // as if another process held it
		holds.Unlock()
		up := f.folder(t)
		if err := f.replace(ours); err == nil || !strings.Contains(err.Error(), "another dsvpn client") {
			t.Errorf("replacing it: %v", err)
		}
		if found, err := f.sweep(); found || err != nil {
			t.Errorf("sweeping it: %v, %v", found, err)
		}
		wantFolder(t, "of another tunnel", f, up)
		other.Close()
	})
}

func TestReadOnly(t *testing.T) {
	netlabtest.Mounts(t)
	dir := t.TempDir()
	f := file{filepath.Join(dir, "resolv.conf")}
	must(t, os.WriteFile(f.path, []byte(theirs), 0o644))
	must(t, unix.Mount(dir, dir, "", unix.MS_BIND, ""))
	defer unix.Unmount(dir, 0)
	must(t, unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""))
	before := f.folder(t)
	if err := f.can(); !errors.Is(err, unix.EROFS) {
		t.Errorf("it can be replaced: %v, want %v", err, unix.EROFS)
	}
	if err := f.replace(ours); !errors.Is(err, unix.EROFS) {
		t.Errorf("replace: %v, want %v", err, unix.EROFS)
	}
	wantFolder(t, "read-only", f, before)
}
