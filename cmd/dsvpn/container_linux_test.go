package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"dsvpn/netcfg/netlab"
	"dsvpn/netcfg/netlab/netlabtest"
	"dsvpn/session"
)

// containers are two images, dsvpn and app, and what runs of them, in a store
// of their own.
type containers struct {
	environ []string
}

func newContainers(t *testing.T) *containers {
	t.Helper()
	netlabtest.Need(t, "podman", "runc", "go")
	dir := t.TempDir()
	c := &containers{environ: append(os.Environ(), "CGO_ENABLED=0",
		"CONTAINERS_CONF="+filepath.Join(dir, "containers.conf"),
		"CONTAINERS_STORAGE_CONF="+filepath.Join(dir, "storage.conf"))}
	for name, text := range map[string]string{
		// Not crun: it refuses hosts with cgroups of both versions.
		"containers.conf": fmt.Sprintf("[engine]\nruntime = 'runc'\nlock_type = 'file'\nevents_logger = 'none'\n"+
			"cgroup_manager = 'cgroupfs'\ntmp_dir = '%s/tmp'\n", dir),
		"storage.conf": fmt.Sprintf("[storage]\ndriver = 'vfs'\ngraphroot = '%[1]s/root'\nrunroot = '%[1]s/run'\n", dir),
		"Appfile":      "FROM scratch\nCOPY app /app\nENTRYPOINT [\"/app\"]\n",
	} {
		check(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	t.Cleanup(func() {
		c.do(t, "podman", "rm", "--all", "--force", "--time", "0")
		eventually(t, "nobody uses the store any more", func() bool { return !anyProcess(dir) })
	})
	c.do(t, "go", "build", "-trimpath", "-o", dir+"/bin/", ".", "./testdata/app")
	// Exactly as the documentation has it.
	c.do(t, "podman", "build", "--format", "docker", "-t", "dsvpn", "--build-context", "build="+dir+"/bin", "../..")
	c.do(t, "podman", "build", "-t", "app", "-f", dir+"/Appfile", dir+"/bin")
	return c
}

// anyProcess tells whether there is a process with these words on its command
// line: podman leaves some that clean up after a container.
func anyProcess(words string) bool {
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	return slices.ContainsFunc(lines, func(line string) bool {
		text, _ := os.ReadFile(line) // it may be gone
		return bytes.Contains(text, []byte(words))
	})
}

func (c *containers) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Env = c.environ
	return cmd
}

// do runs a command that must succeed, and returns its output.
func (c *containers) do(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := c.command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// container is one that runs.
type container struct {
	*process // podman, which ends with the container
	stdin    io.Writer
}

// start starts a container, and waits until it says something. The container
// can do nothing and write nothing that the arguments do not allow.
func (c *containers) start(t *testing.T, h *netlab.Host, name, until string, args ...string) *container {
	t.Helper()
	p := &container{process: &process{done: make(chan struct{})}}
	p.cmd = c.command("podman", append([]string{"run", "--rm", "--interactive", "--name", name, "--network", "ns:" + h.Path(),
		"--cap-drop", "all", "--read-only", "--read-only-tmpfs=false",
		// No systemd to run it, and no limits above those of this process.
		"--no-healthcheck", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"}, args...)...)
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	var err error
	p.stdin, err = p.cmd.StdinPipe()
	check(t, err)
	check(t, p.cmd.Start())
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("output of %s:\n%s", name, p.log.String())
		}
	})
	if err := p.await(until, patience); err != nil {
		t.Fatal(err)
	}
	return p
}

// kill sends a signal to a container and waits until it is gone.
func (c *containers) kill(t *testing.T, name, signal string, p *container) {
	t.Helper()
	c.do(t, "podman", "kill", "--signal", signal, name)
	select {
	case <-p.done:
	case <-time.After(patience):
		t.Fatalf("%s does not end after SIG%s", name, signal)
	}
}

// ask makes the application connect, and returns what it says about that.
func (p *container) ask(t *testing.T, address string) string {
	t.Helper()
	before := len(p.log.String())
	_, err := io.WriteString(p.stdin, address+"\n")
	check(t, err)
	var said string
	eventually(t, "the application answers", func() bool {
		said = p.log.String()[before:]
		return strings.HasSuffix(said, "\n")
	})
	return said
}

// Server and client run in containers, the client beside an application, as in
// a pod. Whatever happens to the client, the application reaches the internet
// through the tunnel or not at all.
func TestSidecar(t *testing.T) {
	tr := newTestTrial(t)
	c := newContainers(t)
	key, _, err := session.LoadKey(tr.key())
	check(t, err)
	check(t, tr.server.SetSysctl("net.ipv4.ip_forward", "1"))
	serveCaller(t, tr, tr.internet, "")
	caller := internetIP + ":" + portCaller

	content, err := os.ReadDir(strings.TrimSpace(c.do(t, "podman", "image", "mount", "dsvpn")))
	if err != nil || len(content) != 1 || content[0].Name() != "dsvpn" {
		t.Errorf("the image has %v (%v), want the program alone", content, err)
	}
	c.do(t, "podman", "image", "umount", "dsvpn")

	privileged := []string{"--cap-add", "NET_ADMIN", "--device", "/dev/net/tun"}
	c.start(t, tr.server, "server", "waiting for a client", append(privileged,
		"--cap-add", "NET_BIND_SERVICE", "--env", "DSVPN_KEY="+key.Base64(), "dsvpn", "server")...)
	startSidecar := func() *container {
		t.Helper()
		return c.start(t, tr.client, "sidecar", "Connected", append(privileged,
			"--volume", tr.key()+":/etc/dsvpn/vpn.key:ro", "--env", "DSVPN_KEY_FILE=/etc/dsvpn/vpn.key",
			"--env", "DSVPN_SERVER="+serverIP, "--env", "DSVPN_KEEP_CLOSED=true", "dsvpn", "client")...)
	}
	sidecar := startSidecar()
	if out := c.do(t, "podman", "exec", "sidecar", "/dsvpn", "health"); !strings.Contains(out, "session with "+serverIP) {
		t.Errorf("health in the container says %q", out)
	}
	wire := newCapture(t, tr.server, "access")
	app := c.start(t, tr.client, "app", "started", "app", internetIP+":"+portEcho, "["+internetIP6+"]:"+portEcho)
	wantOpen := func(open bool, when string) {
		t.Helper()
		want := regexp.MustCompile(`^told "", error .*: (no route to host|network is unreachable)\n$`)
		if open {
			want = regexp.MustCompile("^told \"" + regexp.QuoteMeta(serverUplinkIP) + "\", error <nil>\n$")
		}
		if said := app.ask(t, caller); !want.MatchString(said) {
			t.Errorf("%s, the application says %swant %v", when, said, want)
		}
	}
	wantOpen(true, "with the sidecar")

	for _, signal := range []string{"KILL", "TERM"} {
		c.kill(t, "sidecar", signal, sidecar)
		if clean := sidecar.err == nil && sidecar.log.contains("Done."); clean != (signal == "TERM") {
			t.Errorf("after SIG%s the sidecar has ended with %v", signal, sidecar.err)
		}
		wantOpen(false, "after SIG"+signal)
		sidecar = startSidecar()
		if sidecar.log.contains("exist") {
			t.Errorf("the new sidecar minds the old one after SIG%s", signal)
		}
		wantOpen(true, "with a new sidecar after SIG"+signal)
	}
	wantOnlyTunnel(t, wire.upTo(t, tr.client, serverIP))
}

// What a container lacks is named in one line, with the words that add it in
// docker, podman and Kubernetes.
func TestContainerLacks(t *testing.T) {
	tr := newTestTrial(t)
	c := newContainers(t)
	check(t, tr.client.SetSysctl("net.ipv4.ip_forward", "1")) // the server has none
	tun, admin := []string{"--device", "/dev/net/tun"}, []string{"--cap-add", "NET_ADMIN"}
	for _, tt := range []struct {
		name    string
		host    *netlab.Host
		args    []string
		command string
		want    []string
	}{
		{"device", tr.client, admin, "client",
			[]string{"--device /dev/net/tun", "hostPath: {path: /dev/net/tun, type: CharDevice}"}},
		{"NET_ADMIN", tr.client, tun, "client",
			[]string{"--cap-add=NET_ADMIN", "securityContext: {capabilities: {add: [NET_ADMIN]}}"}},
		{"NET_BIND_SERVICE", tr.client, append(admin, tun...), "server",
			[]string{"--cap-add=NET_BIND_SERVICE", "securityContext: {capabilities: {add: [NET_BIND_SERVICE]}}"}},
		{"forwarding", tr.server, append(admin, tun...), "server",
			[]string{"--sysctl net.ipv4.ip_forward=1", `securityContext: {sysctls: [{name: net.ipv4.ip_forward, value: "1"}]}`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := c.start(t, tt.host, "lacking", " ERR ", append(tt.args, "--env", "DSVPN_SERVER="+serverIP,
				"--env", "DSVPN_KEY="+session.Key{}.Base64(), "dsvpn", tt.command)...)
			<-p.done
			if exit, ok := errors.AsType[*exec.ExitError](p.err); !ok || exit.ExitCode() != exitError {
				t.Errorf("it ends with %v, want %d", p.err, exitError)
			}
			_, line, _ := strings.Cut(p.log.String(), " ERR ")
			for _, words := range tt.want {
				if !strings.Contains(line, words) || strings.Count(line, "\n") != 1 {
					t.Errorf("it does not end with one line that has %q:\n%s", words, p.log.String())
				}
			}
		})
	}
}
