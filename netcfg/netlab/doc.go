// Package netlab builds small networks out of network namespaces: hosts, and
// cables between them. The demo, the benchmark and the tests run on them.
//
//	lab, err := netlab.New()
//	defer lab.Close()
//	c, err := lab.Host("client")
//	s, err := lab.Host("server")
//	err = lab.Cable(
//		netlab.End{Host: c, Interface: "eth0", Addrs: prefixes("10.0.0.1/24", "fd00::1/64")},
//		netlab.End{Host: s, Interface: "eth0", Addrs: prefixes("10.0.0.2/24", "fd00::2/64")},
//	)
//	l, err := s.Listen("tcp", "10.0.0.2:80")
//	out, err := c.Command(ctx, "ping", "-c1", "10.0.0.2").CombinedOutput()
//
// A host is one thread that lives in a network namespace of its own. What has
// to happen on the host is carried to that thread: [Host.Do] for any
// function, and the other methods of [Host] for the common cases. A socket
// belongs for ever to the namespace that it was made in, so listeners and
// connections are used from any goroutine afterwards.
//
// Nothing is visible from outside: namespaces have no name in the file
// system, cables are made inside them, and the namespace of the calling
// process stays as it is. So labs may run side by side, and nothing is left
// when the process dies, however it dies.
//
// Hosts share the file system, and with it /sys, which goes on showing the
// devices of the namespace that it was mounted from.
//
// The package needs Linux, and CAP_SYS_ADMIN and CAP_NET_ADMIN: root has
// both, and so has everybody inside a user namespace of their own.
package netlab
