package netlab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Host is a network namespace with a thread that lives in it. Its methods may
// be called from several goroutines.
type Host struct {
	name string
	tid  int // the thread
	ns   int // descriptor of the namespace

	calls chan func()
	quit  chan struct{} // closed to end the thread
	gone  chan struct{} // closed when it ends

	mu       sync.Mutex
	commands []*exec.Cmd // started and perhaps still running
}

// newHost makes a namespace, its thread and its loopback interface.
func newHost(name string) (*Host, error) {
	h := &Host{
		name:  name,
		calls: make(chan func()),
		quit:  make(chan struct{}),
		gone:  make(chan struct{}),
	}
	ready := make(chan error)
	onOwnThread(func() {
		defer close(h.gone)
		if err := h.unshare(); err != nil {
			ready <- err
			return
		}
		ready <- nil
		for {
			select {
			case call := <-h.calls:
				call()
			case <-h.quit:
				return
			}
		}
	})
	if err := <-ready; err != nil {
		return nil, fmt.Errorf("host %s: %w", name, err)
	}
	if err := h.Do(h.defaults); err != nil {
		h.stop()
		return nil, fmt.Errorf("host %s: %w", name, err)
	}
	return h, nil
}

// unshare moves the current thread to a new namespace and remembers both.
func (h *Host) unshare() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("new network namespace: %w", err)
	}
	ns, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open network namespace: %w", err)
	}
	h.ns, h.tid = ns, unix.Gettid()
	return nil
}

// stop ends the thread, and with it the namespace, unless a process or a
// descriptor still holds that. It returns when the thread is gone.
func (h *Host) stop() {
	close(h.quit)
	<-h.gone
	// The kernel ends the thread a moment after the goroutine.
	poll(time.Second, func() bool {
		return errors.Is(unix.Tgkill(os.Getpid(), h.tid, 0), unix.ESRCH)
	})
	unix.Close(h.ns)
}

// Name returns the name that the host was made with.
func (h *Host) Name() string { return h.name }

// Path returns the path of the namespace, as nsenter --net takes it. It is
// good until the lab is closed.
func (h *Host) Path() string {
	return fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), h.tid)
}

// Do runs fn on the thread of the host and returns its error. Sockets that fn
// makes and processes that it starts belong to the host; goroutines that it
// starts do not. Calls on one host take turns, so fn should not wait for
// long; it may call other methods of this host. A function that ends the
// goroutine (as testing.T.Fatal does) ends the host.
func (h *Host) Do(fn func() error) error {
	closed := fmt.Errorf("host %s: %w", h.name, ErrClosed)
	select {
	case <-h.gone: // and its thread number may be somebody else's
		return closed
	default:
	}
	if unix.Gettid() == h.tid {
		return fn()
	}
	done := make(chan error, 1)
	call := func() {
		err := errors.New("function ended the goroutine")
		defer func() { done <- err }()
		err = fn()
	}
	select {
	case h.calls <- call:
		return <-done
	case <-h.gone:
		return closed
	}
}

// aside runs fn on the host, but on another thread than Do: fn may wait as
// long as it likes.
func (h *Host) aside(fn func() error) error {
	done := make(chan error, 1)
	onOwnThread(func() {
		err := unix.Setns(h.ns, unix.CLONE_NEWNET)
		if err != nil {
			err = fmt.Errorf("enter host %s: %w", h.name, err)
		} else {
			err = fn()
		}
		done <- err
	})
	return <-done
}

// onOwnThread starts fn in a goroutine on a thread of its own. The thread is
// never unlocked, so it dies with the goroutine and its namespace is never
// seen by other goroutines.
func onOwnThread(fn func()) {
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != os.Getpid() {
			fn()
			return
		}
		// The main thread would not die, and what /proc/self shows is its
		// state. Hold on to it until another thread is found.
		defer runtime.UnlockOSThread()
		found := make(chan struct{})
		go func() {
			runtime.LockOSThread()
			close(found)
			fn()
		}()
		<-found
	}()
}

// defaults brings loopback up and sets what a namespace takes over from the
// machine, or what makes tests wait, to fixed values. It runs on the host.
func (h *Host) defaults() error {
	if err := h.SetUp("lo"); err != nil {
		return err
	}
	for _, s := range [][2]string{
		{"net.ipv4.ip_forward", "0"},
		{"net.ipv4.conf.all.rp_filter", "0"},
		{"net.ipv4.conf.default.rp_filter", "0"},
		{"net.ipv4.tcp_congestion_control", "reno"}, // the one that every namespace may have
		{"net.ipv6.conf.all.forwarding", "0"},
		{"net.ipv6.conf.all.accept_dad", "0"},
		{"net.ipv6.conf.default.accept_dad", "0"},
	} {
		err := h.SetSysctl(s[0], s[1])
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // the kernel may lack IPv6
			return err
		}
	}
	return nil
}

// poll calls done about every millisecond until it returns true, which poll
// then returns, or until the time is up.
func poll(limit time.Duration, done func() bool) bool {
	for end := time.Now().Add(limit); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}
