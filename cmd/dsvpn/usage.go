package main

const usage = `Usage of DSVPN:
    dsvpn server KEY [ADDRESS] [PORT] [TUN] [LOCAL] [REMOTE] [EXTERNAL]
    dsvpn client KEY SERVER [PORT] [TUN] [LOCAL] [REMOTE] [GATEWAY]
    dsvpn keygen FILE
    dsvpn check [server|client]
    dsvpn health [TUN]
    dsvpn cleanup
    dsvpn demo
    dsvpn version
    dsvpn help [COMMAND]

DSVPN is a VPN of one server and one client over one TCP connection.

    server     wait for the client and be its way out
    client     connect to the server and send everything through it
    keygen     make the key that both sides share
    check      tell whether this host can be a server or a client
    health     tell whether the tunnel that is running here works
    cleanup    remove what a killed process has left behind
    demo       show a tunnel at work on this host alone
    version    print the version

Example:

    server$ dsvpn keygen vpn.key
    server$ dsvpn keygen --show vpn.key
    client$ dsvpn keygen --import vpn.key     # paste what --show printed
    server# dsvpn server vpn.key
    client# dsvpn client vpn.key server.example.com
`

const serverUsage = `Usage of the DSVPN server:
    dsvpn server [FLAG...] KEY [ADDRESS] [PORT] [TUN] [LOCAL] [REMOTE] [EXTERNAL]

The word auto in any place means the default.

    KEY         the key file; the first 32 bytes of it are the key
    ADDRESS     the address to listen on (all)
    PORT        the TCP port to listen on (443)
    TUN         the name of the tunnel interface (the next free one)
    LOCAL       the IPv4 address of this end of the tunnel (192.168.192.254)
    REMOTE      the IPv4 address of the client's end (192.168.192.1)
    EXTERNAL    the address or interface that leads to the internet (that of
                the default route)
` + flagsUsage + `    DSVPN_KEY_FILE DSVPN_ADDRESS DSVPN_PORT DSVPN_TUN DSVPN_LOCAL DSVPN_REMOTE
    DSVPN_EXTERNAL
    DSVPN_KEY       the key itself (base64) instead of a file
`

const clientUsage = `Usage of the DSVPN client:
    dsvpn client [FLAG...] KEY SERVER [PORT] [TUN] [LOCAL] [REMOTE] [GATEWAY]

The word auto in any place means the default.

    KEY         the key file; the first 32 bytes of it are the key
    SERVER      the name or address of the server
    PORT        the TCP port of the server (443)
    TUN         the name of the tunnel interface (the next free one)
    LOCAL       the IPv4 address of this end of the tunnel (192.168.192.1)
    REMOTE      the IPv4 address of the server's end (192.168.192.254)
    GATEWAY     the address of the router (that of the default route)
` + flagsUsage + `    DSVPN_KEY_FILE DSVPN_SERVER DSVPN_PORT DSVPN_TUN DSVPN_LOCAL DSVPN_REMOTE
    DSVPN_GATEWAY
    DSVPN_KEY       the key itself (base64) instead of a file
`

// flagsUsage leads up to the variables of the positional arguments, which
// server and client end with.
const flagsUsage = `
SIGUSR1 makes a client connect again at once, and a server log how it is doing.

Flags may stand before, between and after the arguments; -- ends them.

    --point-to-point          give the interface its addresses, change nothing
                              else: no route, no rule, no firewall, no sysctl
    --firewall auto|nft|iptables|none
                              what packet filter rules are made with (auto: the
                              first that works)
    --mtu BYTES               of the tunnel interface (9000; 1500 on NetBSD)
    --ipv6 block|tunnel|off   what happens to IPv6 (block)
                                block   it neither passes the tunnel nor leaks
                                tunnel  it goes through the tunnel
                                off     it goes past the tunnel
    --tunnel6 PREFIX          the /96 that makes IPv6 addresses of the tunnel's
                              IPv4 addresses (64:ff9b::/96)
    --mark NUMBER             of the tunnel's own connection, which stays outside
                              of it (42069)
    --congestion NAME         TCP congestion control (bbr); none changes nothing
    --timeout TIME            how long a dead path may go unnoticed (20s)
    --health ADDRESS:PORT     answer HTTP requests there: /healthz is 200 if the
                              program is alive, /readyz if packets come through
    --sandbox auto|off        give up the privileges that the running program
                              does not need, as far as the system can (auto)
    --offload auto|off        exchange TCP with the kernel in large packets, as
                              far as it can (auto; Linux only)
    --dry-run                 print what would be done, do nothing
    --log-level LEVEL         debug, info, warn or error (info)
    --log-format text|json    of the log on standard error (text)

Flags for the client, which a server ignores:

    --table NUMBER            the routing table into the tunnel (42069)
    --rule-priority NUMBER    of the first of two policy rules (31000)
    --dns ADDRESS[,ADDRESS]   the name servers to ask while the tunnel is up, by
                              all programs (those that the host has)
    --keep-inbound            answer connections from outside on the way they
                              came, not through the tunnel
    --reconnect-limit COUNT   give up after so many failed attempts in a row
                              (0: never)
    --kill-switch             let nothing leave the host but through the tunnel,
                              whatever the routes say, and through a kill
    --allow PREFIX,...        networks that the kill switch leaves reachable
    --keep-closed             when the client ends, let nothing out past the
                              tunnel, until the next start or dsvpn cleanup

Each flag has an environment variable of the same name: that of --rule-priority
is DSVPN_RULE_PRIORITY. So have the arguments. What is given on the command
line goes first.

`

const keygenUsage = `Usage of the DSVPN key tool:
    dsvpn keygen FILE
    dsvpn keygen --show FILE
    dsvpn keygen --import FILE

Both sides share one key of 32 bytes. A file that exists is never overwritten.

    FILE        the key file; only its owner may read it
    --show      print the key in FILE as text (base64), to be copied
    --import    read the text from standard input and write FILE
`

const checkUsage = `Usage of the DSVPN check:
    dsvpn check [FLAG...]
    dsvpn check server|client [ARGUMENT|FLAG...]

Tells whether this host can be a server, a client or both, and changes nothing.
The arguments and flags are those of the server and the client, none required.
`

const healthUsage = `Usage of the DSVPN health check:
    dsvpn health [--live] [TUN]

Asks the program that is running in this network namespace, over a socket that
nobody outside can see. It ends with 0 if a peer that has proved the key is
connected and packets come through, with 1 if not, and says why.

    TUN         the tunnel interface (all that are there), or DSVPN_TUN
    --live      ask whether the program does its work, connected or not
`

const cleanupUsage = `Usage of the DSVPN cleanup:
    dsvpn cleanup [FLAG...]

Removes the routes, policy rules and firewall rules that a killed process has
left behind and puts sysctls and name servers back. What belongs to a running
process, or is not DSVPN's own, stays. A start does the same.

    --log-level LEVEL         debug, info, warn or error (info)
    --log-format text|json    of the log on standard error (text)
`

const demoUsage = `Usage of the DSVPN demo:
    dsvpn demo [FLAG...]

Builds a client, a server and an internet out of network namespaces on this
host, runs a tunnel between them and takes it all down again.

    --keep                    leave them there until Control-C
    --log-level LEVEL         debug, info, warn or error (info)
    --log-format text|json    of the log on standard error (text)
`

const versionUsage = `Usage of the DSVPN version:
    dsvpn version

Prints the version of the program, of the protocol and of Go.
`
