package main

// sandbox says whether the program confines itself while it runs.
//
// There are three steps, each as early as it can be. [program.harden] comes
// before the key is read; [program.dropCapabilities] when the interface and the
// listening sockets are open and nothing else of the host has been changed, so
// that what can be done to it can be undone; [program.restrict] when the host is
// set up. Whoever takes over the program then can still do to the network what
// CAP_NET_ADMIN allows, and has little of the rest of the host.
//
// A step that the system does not allow or does not know is logged, and the
// run goes on: a tunnel with all its privileges is better than none.
type sandbox string

const (
	sandboxAuto sandbox = "auto" // as far as the system can
	sandboxOff  sandbox = "off"
)
