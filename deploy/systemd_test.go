package deploy

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// machine is a container that systemd runs in, on the programs of this host
// and with little of its configuration. Its network has no way out.
type machine struct {
	t       *testing.T
	environ []string
}

// installed is where the units expect the program.
const installed = "/usr/local/bin/dsvpn"

func newMachine(t *testing.T, dropIns ...string) *machine {
	t.Helper()
	need(t, "podman", "runc", "systemctl", "ip")
	if os.Getuid() != 0 {
		skip(t, "only root may")
	}
	dir := t.TempDir()
	m := &machine{t, append(os.Environ(),
		"CONTAINERS_CONF="+filepath.Join(dir, "containers.conf"), "CONTAINERS_STORAGE_CONF="+filepath.Join(dir, "storage.conf"))}
	root := filepath.Join(dir, "machine")
	for _, name := range []string{"opt", "usr", "var", "run", "tmp", "proc", "sys", "dev"} {
		check(t, os.MkdirAll(filepath.Join(root, name), 0o755))
	}
	for _, name := range []string{"bin", "sbin", "lib", "lib64"} {
		check(t, os.Symlink("usr/"+name, filepath.Join(root, name)))
	}
	key := strings.Repeat("a bad key. ", 3)
	write := func(name, text string) {
		t.Helper()
		name = filepath.Join(dir, name)
		check(t, os.MkdirAll(filepath.Dir(name), 0o755))
		check(t, os.WriteFile(name, []byte(text), 0o600))
	}
	for name, text := range map[string]string{
		// Not crun: it refuses hosts with cgroups of both versions.
		"containers.conf":              fmt.Sprintf("[engine]\nruntime = 'runc'\nlock_type = 'file'\nevents_logger = 'none'\ncgroup_manager = 'cgroupfs'\ntmp_dir = '%s/tmp'\n", dir),
		"storage.conf":                 fmt.Sprintf("[storage]\ndriver = 'vfs'\ngraphroot = '%[1]s/root'\nrunroot = '%[1]s/run'\n", dir),
		"machine/etc/passwd":           "root:x:0:0::/:/bin/sh\ndsvpn:x:999:999::/:/bin/false\n",
		"machine/etc/group":            "root:x:0:\ndsvpn:x:999:\n",
		"machine/etc/machine-id":       strings.Repeat("5", 32) + "\n",
		"machine/etc/dsvpn/server.key": key,
		"machine/etc/dsvpn/server.env": "DSVPN_EXTERNAL=lo\n",
		"machine/etc/dsvpn/home.key":   key,
		"machine/etc/dsvpn/home.env":   "DSVPN_SERVER=127.0.0.1\nDSVPN_TUN=tun9\nDSVPN_LOCAL=192.168.193.1\nDSVPN_REMOTE=192.168.193.254\n",
	} {
		write(name, text)
	}
	for _, unit := range files(t, "systemd/*.service") {
		write("machine/etc/systemd/system/"+filepath.Base(unit), strings.ReplaceAll(read(t, unit), installed, "/opt/dsvpn"))
	}
	for _, name := range dropIns {
		write("machine/etc/systemd/system/"+strings.TrimPrefix(name, "systemd/"), read(t, name))
	}
	check(t, os.Link(program, filepath.Join(root, "opt/dsvpn")))
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(m.do("podman", "exec", "machine", "journalctl", "--no-pager", "--unit", "dsvpn*"))
		}
		m.do("podman", "rm", "--all", "--force", "--time", "0")
	})
	m.do("podman", "run", "--detach", "--name", "machine", "--systemd", "always", "--privileged", "--network", "none",
		"--ulimit", "nofile=4096:4096", "--ulimit", "nproc=4096:4096", "--volume", "/usr:/usr:ro",
		"--rootfs", root, "/lib/systemd/systemd", "systemd.unit=basic.target")
	return m
}

// do runs a command that must succeed, and returns its output.
func (m *machine) do(name string, args ...string) string {
	m.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = m.environ
	out, err := cmd.CombinedOutput()
	if err != nil {
		m.t.Errorf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// sh runs a line of shell on the machine.
func (m *machine) sh(line string) string {
	m.t.Helper()
	return m.do("podman", "exec", "machine", "sh", "-c", line)
}

// The units work under the restrictions that they impose: a service is ready
// when it should be, comes back when it is killed, with the host closed
// meanwhile where it is a client's, and leaves nothing when it is stopped. So
// they do as another user than root.
func TestUnitsRun(t *testing.T) {
	t.Run("root", func(t *testing.T) { runUnits(t, newMachine(t)) })
	t.Run("user", func(t *testing.T) {
		m := newMachine(t, files(t, "systemd/*.service.d/user.conf")...)
		m.sh("chmod 666 /dev/net/tun; chown dsvpn /etc/dsvpn/*.key") // the former as a host's udev has it
		runUnits(t, m)
	})
}

func runUnits(t *testing.T, m *machine) {
	const rule = "lookup 42069"
	m.sh("until systemctl is-active basic.target; do sleep 0.1; done")
	m.sh("systemctl start dsvpn-server && systemctl start dsvpn-client@home && /opt/dsvpn health")
	if out := m.sh("ip rule; cat /proc/sys/net/ipv4/ip_forward"); !strings.Contains(out, rule) || !strings.HasSuffix(out, "\n1\n") {
		t.Errorf("with both running:\n%s", out)
	}
	if out := m.sh("systemctl status --no-pager dsvpn-client@home"); !strings.Contains(out, `Status: "session with 127.0.0.1:443`) {
		t.Errorf("the status of the client does not tell of a session:\n%s", out)
	}
	for _, unit := range []string{"dsvpn-client@home", "dsvpn-server"} {
		m.sh("systemctl kill --kill-who main --signal KILL " + unit)
		for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
			state := m.sh("ip rule; systemctl show --property NRestarts,ActiveState " + unit)
			if !strings.Contains(state, rule) {
				t.Errorf("the client's host is open after %s was killed:\n%s", unit, state)
			}
			if strings.Contains(state, "NRestarts=1\nActiveState=active") {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("%s does not come back:\n%s", unit, state)
			}
		}
	}
	m.sh("until /opt/dsvpn health; do sleep 0.1; done; systemctl stop dsvpn-client@home dsvpn-server")
	if out := m.sh("ip rule; cat /proc/sys/net/ipv4/ip_forward"); strings.Contains(out, rule) || !strings.HasSuffix(out, "\n0\n") {
		t.Errorf("with both stopped:\n%s", out)
	}
}
