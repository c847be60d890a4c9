package fallback

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// clientVars and serverVars are those of an ordinary tunnel.
var (
	clientVars = Vars{
		IfName: "tun0", LocalTunIP: "192.168.192.1", RemoteTunIP: "192.168.192.254",
		LocalTunIP6: "64:ff9b::c0a8:c001", RemoteTunIP6: "64:ff9b::c0a8:c0fe",
		ExtIP: "198.51.100.7", ExtPort: "443", ExtIfName: "em0", ExtGwIP: "192.0.2.1",
	}
	serverVars = clientVars.with(LocalTunIP, "192.168.192.254").with(RemoteTunIP, "192.168.192.1").
			with(LocalTunIP6, "64:ff9b::c0a8:c0fe").with(RemoteTunIP6, "64:ff9b::c0a8:c001")
)

// expanded are all lines of a table, as changes.
func expanded(t *testing.T, table []Line, vars Vars) (changes []Change) {
	t.Helper()
	for _, l := range table {
		c, err := l.Expand(vars)
		if err != nil {
			t.Fatal(err)
		}
		changes = append(changes, c)
	}
	return changes
}

// render prints a table as people read it.
func render(changes []Change) string {
	var b strings.Builder
	for _, c := range changes {
		if c.Name != "" {
			fmt.Fprintf(&b, "sysctl -w %s=%s\n    undo: what it was\n", c.Name, c.Value)
			continue
		}
		fmt.Fprintf(&b, "%s\n    undo: %s\n", c.Do, c.Back())
	}
	return b.String()
}

// Every line of every table, as commands.
func TestTables(t *testing.T) {
	for _, s := range Systems {
		for role, table := range map[string][]Change{"client": expanded(t, s.Client, clientVars), "server": expanded(t, s.Server, serverVars)} {
			path := filepath.Join("testdata", s.Name+"-"+role+".txt")
			got := render(table)
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatalf("%v (go test -update writes it)", err)
			}
			if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
				t.Errorf("differs from %s (-want +got):\n%s", path, diff)
			}
		}
	}
}

// What the C program does is what the tables do, in that order, but for the
// spelling that doc comments of Systems give the reasons for.
func TestAsTheCProgram(t *testing.T) {
	spelling := strings.NewReplacer("route -n ", "route ", " -host", "", " -net", "",
		" 0.0.0.0/1", " 0/1", " 128.0.0.0/1", " 128/1", " ::/1", " 0000::/1")
	server := `
sysctl -w net.inet.ip.forwarding=1
ifconfig tun0 192.168.192.254 192.168.192.1 up
ifconfig tun0 inet6 64:ff9b::c0a8:c0fe 64:ff9b::c0a8:c001 prefixlen 128 up`
	client := `
ifconfig tun0 192.168.192.1 192.168.192.254 up
ifconfig tun0 inet6 64:ff9b::c0a8:c001 64:ff9b::c0a8:c0fe prefixlen 128 up
route add 198.51.100.7 192.0.2.1
route add 0/1 192.168.192.254
route add 128/1 192.168.192.254
route add -inet6 -blackhole 0000::/1 64:ff9b::c0a8:c0fe
route add -inet6 -blackhole 8000::/1 64:ff9b::c0a8:c0fe`
	// The rest is ours: an IPv6 server, IPv6 in the tunnel, NAT.
	inC := func(p Part) bool { return !slices.Contains([]Part{ServerRoute6, Route6, NAT}, p) }
	for _, s := range Systems {
		for _, tt := range []struct {
			table []Line
			vars  Vars
			want  string
		}{{s.Client, clientVars, client}, {s.Server, serverVars, server}} {
			got := ""
			for _, c := range expanded(t, tt.table, tt.vars) {
				switch {
				case !inC(c.Part):
				case c.Name != "":
					got += fmt.Sprintf("\nsysctl -w %s=%s", c.Name, c.Value)
				default:
					got += "\n" + spelling.Replace(c.Do.String())
				}
			}
			if diff := cmp.Diff(strings.Split(tt.want, "\n"), strings.Split(got, "\n")); diff != "" {
				t.Errorf("%s (-the C program +ours):\n%s", s.Title, diff)
			}
		}
	}
}

// What a table says of a route is what its command says.
func TestRoutesAreDescribed(t *testing.T) {
	for _, s := range Systems {
		for _, l := range slices.Concat(s.Client, s.Server) {
			isRoute := strings.HasPrefix(l.Do, "route ")
			via := l.Via
			undo := strings.Replace(l.Do, " add ", " delete ", 1)
			if l.Part == Block6 {
				via = "$REMOTE_TUN_IP6"
				undo = strings.TrimSuffix(strings.Replace(undo, " -blackhole", "", 1), " "+via)
			}
			if isRoute != (l.To != "") || isRoute && !strings.HasSuffix(l.Do, " "+l.To+" "+via) {
				t.Errorf("%s: %q adds a route to %q via %q", s.Title, l.Do, l.To, l.Via)
			}
			if isRoute && l.Undo != undo {
				t.Errorf("%s: %q is undone with %q", s.Title, l.Do, l.Undo)
			}
		}
		if _, err := expandText(s.Hint, serverVars); err != nil {
			t.Errorf("%s: %v", s.Title, err)
		}
		if found, ok := For(s.Name); !ok || found.Title != s.Title {
			t.Errorf("For(%q) = %q, %v", s.Name, found.Title, ok)
		}
	}
	for name, want := range map[string]string{"darwin": "ifconfig pfctl route sysctl", "openbsd": "ifconfig pfctl route sysctl",
		"freebsd": "ifconfig route sysctl", "dragonfly": "ifconfig route sysctl", "netbsd": "ifconfig route sysctl"} {
		s, _ := For(name)
		if got := strings.Join(s.Programs(), " "); got != want {
			t.Errorf("%s runs %s, want %s", s.Title, got, want)
		}
	}
	if _, ok := For("linux"); ok {
		t.Error("there is a table for Linux, which needs none")
	}
}

func TestExpand(t *testing.T) {
	vars := Vars{"A": "one", "B": "two words; rm -rf /", "C": "$A", "D": "-f", "E": "", "AB": "both", "Z": "a\x00b"}
	for _, tt := range []struct {
		template string
		want     []string
		err      string
	}{
		{"ifconfig $A up", []string{"ifconfig", "one", "up"}, ""},
		{"x $B y", []string{"x", "two words; rm -rf /", "y"}, ""},
		{"x $C", []string{"x", "$A"}, ""},
		{"x a/$A.$AB", []string{"x", "a/one.both"}, ""},
		{"  x\t$A  ", []string{"x", "one"}, ""},
		{"", nil, ""},
		{"x -$A", []string{"x", "-one"}, ""},
		{"x $D", nil, `"-f" would be an option`},
		{"x $E", nil, "$E has no value"},
		{"x $F", nil, "$F has no value"},
		{"x $a", nil, "without the name"},
		{"x $", nil, "without the name"},
		{"x $Z", nil, "zero byte"},
	} {
		got, err := Expand(tt.template, vars)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("Expand(%q) = %q, %v, want an error with %q", tt.template, got, err, tt.err)
			}
			continue
		}
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("Expand(%q) = %q, %v, want %q", tt.template, got, err, tt.want)
		}
	}
}

// The language of a packet filter has signs of its own.
func TestInputIsNotInjected(t *testing.T) {
	for _, name := range []string{"en0 from any", "en0\npass all", "$EXT_IP", "en0;", "{en0}", "en0#"} {
		l := Line{Do: "pfctl -f -", Input: "nat on $EXT_IF_NAME from any"}
		if c, err := l.Expand(Vars{ExtIfName: name}); err == nil {
			t.Errorf("an interface named %q makes the rule %q", name, c.Do.Input)
		}
	}
}

// A value is one argument and arrives as it is, and words stay as many as they
// were.
func FuzzExpand(f *testing.F) {
	f.Add("route add $EXT_IP $EXT_GW_IP", "EXT_IP", "192.0.2.1; reboot")
	f.Add("x a$V-$V $V", "V", "$V")
	f.Add("x $ $$ ${V} \x00", "V", "-o")
	f.Add("pfctl -a dsvpn/$IF_NAME -f -", "IF_NAME", "tun0 \n\t")
	f.Fuzz(func(t *testing.T, template, name, value string) {
		args, err := Expand(template, Vars{name: value})
		if err != nil {
			if args != nil {
				t.Errorf("%q and the error %v", args, err)
			}
			return
		}
		words := strings.Fields(template)
		if len(args) != len(words) {
			t.Fatalf("%d words make %d arguments: %q", len(words), len(args), args)
		}
		for i, w := range words {
			// Without the value, which may hold anything, what is left is the
			// template without the variable.
			if strings.Count(w, "$") == 1 && strings.HasSuffix(w, "$"+name) && args[i] != strings.TrimSuffix(w, "$"+name)+value {
				t.Errorf("%q with %q is %q", w, value, args[i])
			}
			if !strings.Contains(w, "$") && args[i] != w {
				t.Errorf("%q has become %q", w, args[i])
			}
			if strings.HasPrefix(args[i], "-") && !strings.HasPrefix(w, "-") {
				t.Errorf("%q has become the option %q", w, args[i])
			}
		}
		if _, err := expandText(template, Vars{name: value}); err == nil && strings.Contains(template, "$"+name) && strings.ContainsAny(value, " \n;{}#$\"") {
			t.Errorf("%q is part of a rule", value)
		}
	})
}

func TestString(t *testing.T) {
	for _, tt := range []struct {
		c    Command
		want string
	}{
		{Command{Args: []string{"route", "add", "::/1", "fe80::1%em0"}}, "route add ::/1 fe80::1%em0"},
		{Command{Args: []string{"x", "two words", "", "it's", "a;b", "$HOME"}}, `x 'two words' '' 'it'\''s' 'a;b' '$HOME'`},
		{Command{Args: []string{"pfctl", "-f", "-"}, Input: "nat on em0 -> (em0)"}, `echo 'nat on em0 -> (em0)' | pfctl -f -`},
	} {
		if got := tt.c.String(); got != tt.want {
			t.Errorf("%q is printed as %s, want %s", tt.c.Args, got, tt.want)
		}
	}
}

// What pfctl -E of macOS prints, among other things.
func TestGiven(t *testing.T) {
	c, err := Line{Do: "pfctl -E", Undo: "pfctl -X $PF_TOKEN", Gives: "PF_TOKEN", After: "Token : "}.Expand(Vars{})
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Back(); got != "pfctl -X $PF_TOKEN" {
		t.Errorf("the undo is printed as %s", got)
	}
	undo, err := c.Given("No ALTQ support in kernel\nALTQ related functions disabled\npf enabled\nToken : 18446743524\n")
	if err != nil || undo.String() != "pfctl -X 18446743524" {
		t.Errorf("the undo is %s, %v", undo, err)
	}
	for _, said := range []string{"", "pf enabled\n", "Token : \n", "Token : -F all\n"} {
		if undo, err := c.Given(said); err == nil {
			t.Errorf("%q gives %s", said, undo)
		}
	}
}

// programs are what this test binary is when it runs under their names.
var programs = map[string]func(){
	"says":  func() { fmt.Printf("%s\n%q\n", strings.Join(os.Environ(), "\n"), os.Args[1:]) },
	"reads": func() { os.Stdout.ReadFrom(os.Stdin) },
	"fails": func() { fmt.Fprintln(os.Stderr, "route: writing to routing socket: not in table"); os.Exit(3) },
	"lies":  func() { fmt.Fprintln(os.Stderr, "route: writing to routing socket: File exists") }, // as on macOS
	"dies": func() {
		self, _ := os.FindProcess(os.Getpid())
		self.Kill()
		select {}
	},
	"hangs": func() { select {} },
	"floods": func() {
		line := strings.Repeat("x", 1023) + "\n"
		for range 4096 {
			os.Stdout.WriteString(line)
			os.Stderr.WriteString(line)
		}
		os.Exit(1)
	},
	"leaves": func() { // a child that keeps the output open
		p, err := os.StartProcess(filepath.Join(filepath.Dir(os.Args[0]), "hangs"), []string{"hangs"},
			&os.ProcAttr{Files: []*os.File{nil, os.Stdout, os.Stderr}})
		if err != nil {
			panic(err)
		}
		fmt.Println(p.Pid)
	},
}

func TestMain(m *testing.M) {
	if f, ok := programs[filepath.Base(os.Args[0])]; ok {
		time.AfterFunc(time.Minute, func() { os.Exit(99) }) // should a test forget us
		f()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// newHost makes a host that has the programs.
func newHost(t *testing.T) Host {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name := range programs {
		if err := os.Symlink(self, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return Host{Folders: []string{dir}}
}

func TestRun(t *testing.T) {
	t.Setenv("DSVPN_KEY", "secret")
	h := newHost(t)
	got, err := h.Run(Command{Args: []string{"says", "two words", ";", "", "$PATH"}})
	want := "LC_ALL=C\nPATH=/sbin:/usr/sbin:/bin:/usr/bin\n" + `["two words" ";" "" "$PATH"]` + "\n"
	if err != nil || got != want {
		t.Errorf("it says %q, %v, want %q", got, err, want)
	}
	got, err = h.Run(Command{Args: []string{"reads"}, Input: "pass out from 10.0.0.1 nat-to egress"})
	if err != nil || got != "pass out from 10.0.0.1 nat-to egress\n" {
		t.Errorf("it has read %q, %v", got, err)
	}
	if got, err = h.Run(Command{Args: []string{"reads"}}); err != nil || got != "" {
		t.Errorf("without input, it has read %q, %v", got, err)
	}
}

func TestRunFails(t *testing.T) {
	h := newHost(t)
	h.Patience = 200 * time.Millisecond // of which only hangs takes more
	patient := h
	patient.Patience = 0
	for _, tt := range []struct {
		h       Host
		name    string
		want    []string
		gone    bool
		refused bool
	}{
		{patient, "fails", []string{"fails a 'b c': exit status 3: route: writing to routing socket: not in table"}, true, true},
		{patient, "dies", []string{"dies a 'b c': signal: killed: it said nothing"}, false, false},
		{h, "hangs", []string{"hangs a 'b c': it took too long and was killed (after 200ms): it said nothing"}, false, false},
		{patient, "absent", []string{"absent a 'b c': absent is not in ", "it said nothing"}, false, true},
		{patient, "floods", []string{"floods a 'b c': exit status 1: xxxx", "..."}, false, true},
	} {
		output, err := tt.h.Run(Command{Args: []string{tt.name, "a", "b c"}})
		failed, ok := errors.AsType[*RunError](err)
		if !ok {
			t.Errorf("%s: error %v", tt.name, err)
			continue
		}
		for _, part := range tt.want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: error %q, want one with %q", tt.name, err, part)
			}
		}
		if failed.Gone() != tt.gone || failed.Refused() != tt.refused || len(err.Error()) > 1000 || len(output) > maxOutput {
			t.Errorf("%s: gone %v, refused %v, an error of %d bytes, an output of %d", tt.name, failed.Gone(), failed.Refused(), len(err.Error()), len(output))
		}
	}
	if _, err := h.Run(Command{Args: []string{"hangs"}}); !errors.Is(err, ErrTimeout) {
		t.Errorf("error %v, want %v", err, ErrTimeout)
	}
	if _, err := h.Run(Command{}); err == nil {
		t.Error("no command has run")
	}
}

// A success that is none, as route(8) of macOS has them.
func TestDo(t *testing.T) {
	h := newHost(t)
	if _, err := Do(h, Command{Args: []string{"says"}}); err != nil {
		t.Error(err)
	}
	_, err := Do(h, Command{Args: []string{"lies"}})
	if failed, ok := errors.AsType[*RunError](err); !ok || !failed.Refused() || failed.Gone() || !strings.Contains(err.Error(), "File exists") {
		t.Errorf("the lie is the error %v", err)
	}
	if _, err := Do(h, Command{Args: []string{"fails"}}); !strings.Contains(fmt.Sprint(err), "exit status 3") {
		t.Errorf("the failure is the error %v", err)
	}
}

// A command that has ended is done, whatever it has left behind.
func TestChildKeepsOutput(t *testing.T) {
	h := newHost(t)
	output, err := h.Run(Command{Args: []string{"leaves"}})
	if err != nil {
		t.Errorf("error %v", err)
	}
	var pid int
	if _, err := fmt.Sscan(output, &pid); err != nil {
		t.Fatalf("%q: %v", output, err)
	}
	if p, err := os.FindProcess(pid); err == nil {
		p.Kill()
	}
}
