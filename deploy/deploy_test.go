// Package deploy has no code: it is a module of its own so that what checks
// these files is not among the dependencies of the program.
package deploy

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	reader "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// program is the program, built for the tests.
var program string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "dsvpn-deploy-")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		program = filepath.Join(dir, "dsvpn")
		build := exec.Command("go", "build", "-o", program, "./cmd/dsvpn")
		build.Dir, build.Stderr, build.Env = "..", os.Stderr, append(os.Environ(), "CGO_ENABLED=0")
		if err := build.Run(); err != nil {
			panic(err)
		}
		return m.Run()
	}())
}

// skip skips the test, and fails it where all is there by agreement.
func skip(t *testing.T, reason string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal("cannot run here: " + reason)
	}
	t.Skip(reason)
}

// need skips the test unless these programs are installed.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, name := range programs {
		if _, err := exec.LookPath(name); err != nil {
			skip(t, err.Error())
		}
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func files(t *testing.T, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) == 0 {
		t.Fatalf("no files %s (%v)", pattern, err)
	}
	return names
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	check(t, err)
	return string(text)
}

// Every variable that a file here sets is one that the program knows, and
// every command line is one that it takes.
func TestVariables(t *testing.T) {
	names := slices.Concat(files(t, "*/*.yaml"), files(t, "systemd/*.service"), files(t, "systemd/*/*"), files(t, "*.md"))
	var help strings.Builder
	for _, command := range []string{"server", "client"} {
		out, err := exec.Command(program, "help", command).Output()
		if err != nil {
			t.Fatal(err)
		}
		help.Write(out)
	}
	flags := regexp.MustCompile(`--[a-z0-9-]+`).ReplaceAllStringFunc(help.String(), func(flag string) string {
		return "DSVPN_" + strings.ToUpper(strings.ReplaceAll(flag[2:], "-", "_"))
	})
	known := regexp.MustCompile(`DSVPN_[A-Z0-9_]+`).FindAllString(flags+help.String(), -1)
	for _, name := range names {
		for _, v := range regexp.MustCompile(`DSVPN_[A-Z0-9_]+`).FindAllString(read(t, name), -1) {
			if v != "DSVPN_NAME" && !slices.Contains(known, v) {
				t.Errorf("%s: the program does not know %s", name, v)
			}
		}
	}
}

// The units are as systemd wants them, and leave the program few privileges.
func TestUnits(t *testing.T) {
	need(t, "systemd-analyze")
	const exposure = "30" // tenths, of 10
	for _, name := range files(t, "systemd/*.service") {
		t.Run(filepath.Base(name), func(t *testing.T) {
			text := read(t, name)
			if !strings.Contains(text, "ExecStart="+installed+" ") || !strings.Contains(text, installed+" cleanup") {
				t.Errorf("it does not start and clean up after %s", installed)
			}
			unit := filepath.Join(t.TempDir(), filepath.Base(name))
			if err := os.WriteFile(unit, []byte(strings.ReplaceAll(text, installed, program)), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, args := range [][]string{
				{"verify", "--man=no", unit},
				{"security", "--no-pager", "--offline=true", "--threshold=" + exposure, unit},
			} {
				out, err := exec.Command("systemd-analyze", args...).CombinedOutput()
				if err != nil || args[0] == "verify" && len(out) > 0 {
					t.Errorf("systemd-analyze %s: %v\n%s", args[0], err, out)
				}
			}
		})
	}
}

// The manifests have no field that Kubernetes does not know.
func TestKubernetes(t *testing.T) {
	for _, name := range files(t, "kubernetes/*.yaml") {
		t.Run(filepath.Base(name), func(t *testing.T) {
			documents := reader.NewYAMLReader(bufio.NewReader(strings.NewReader(read(t, name))))
			for {
				document, err := documents.Read()
				if errors.Is(err, io.EOF) {
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				checkObject(t, document)
			}
		})
	}
}

func checkObject(t *testing.T, document []byte) {
	t.Helper()
	var kind metav1.TypeMeta
	if err := yaml.Unmarshal(document, &kind); err != nil {
		t.Fatal(err)
	}
	switch kind.GroupVersionKind() {
	case appsv1.SchemeGroupVersion.WithKind("Deployment"):
		var d appsv1.Deployment
		decode(t, document, &d)
		checkPod(t, d.Spec.Template.Spec)
	case corev1.SchemeGroupVersion.WithKind("Service"):
		decode(t, document, new(corev1.Service))
	default:
		t.Errorf("nobody has checked a %v", kind)
	}
}

// decode is strict as the API server is when it is asked to be: about unknown
// and repeated fields, and about upper and lower case.
func decode(t *testing.T, document []byte, object any) {
	t.Helper()
	text, err := yaml.YAMLToJSONStrict(document)
	check(t, err)
	wrong, err := json.UnmarshalStrict(text, object)
	if err := errors.Join(append(wrong, err)...); err != nil {
		t.Fatal(err)
	}
}

// checkPod looks for what the container of dsvpn cannot do without, and for
// what it must not have.
func checkPod(t *testing.T, pod corev1.PodSpec) {
	t.Helper()
	i := slices.IndexFunc(append(pod.InitContainers, pod.Containers...), func(c corev1.Container) bool { return c.Name == "dsvpn" })
	if i < 0 {
		t.Fatal("no container dsvpn")
	}
	c := append(pod.InitContainers, pod.Containers...)[i]
	if sidecar := i < len(pod.InitContainers); sidecar != (c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways) {
		t.Error("an init container must have restartPolicy Always, and no other container may")
	}
	caps := c.SecurityContext.Capabilities
	if !slices.Contains(caps.Add, "NET_ADMIN") || !slices.Equal(caps.Drop, []corev1.Capability{"ALL"}) {
		t.Errorf("capabilities are %v", caps)
	}
	if !*c.SecurityContext.ReadOnlyRootFilesystem || *c.SecurityContext.AllowPrivilegeEscalation {
		t.Errorf("security context is %v", c.SecurityContext)
	}
	for _, probe := range []*corev1.Probe{c.StartupProbe, c.LivenessProbe} {
		if probe == nil || probe.Exec == nil || !slices.Equal(probe.Exec.Command[:2], []string{"/dsvpn", "health"}) {
			t.Errorf("probe is %v", probe)
		}
	}
	for _, m := range c.VolumeMounts {
		if !slices.ContainsFunc(pod.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name }) {
			t.Errorf("no volume %s", m.Name)
		}
	}
}

// The compose files follow the compose specification.
func TestCompose(t *testing.T) {
	for _, name := range files(t, "compose/*.yaml") {
		t.Run(filepath.Base(name), func(t *testing.T) {
			options, err := cli.NewProjectOptions([]string{name}, cli.WithName("test"), cli.WithEnv([]string{"DSVPN_SERVER=192.0.2.1"}))
			if err != nil {
				t.Fatal(err)
			}
			project, err := options.LoadProject(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			vpn := project.Services["vpn"]
			if !slices.Contains(vpn.CapAdd, "NET_ADMIN") || !slices.Equal(vpn.CapDrop, []string{"ALL"}) || !vpn.ReadOnly {
				t.Errorf("service vpn may do %v without %v, read-only %v", vpn.CapAdd, vpn.CapDrop, vpn.ReadOnly)
			}
			if test := vpn.HealthCheck.Test; len(test) < 3 || test[1] != "/dsvpn" || test[2] != "health" {
				t.Errorf("health check is %v", test)
			}
		})
	}
}
