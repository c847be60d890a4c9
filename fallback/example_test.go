package fallback_test

import (
	"fmt"

	"dsvpn/fallback"
)

// PORTING.md goes through this example.
func Example_port() {
	imaginary := fallback.System{
		Name: "exampleos", Title: "ExampleOS", Tunnel: "tun",
		Client: []fallback.Line{
			{Part: fallback.Address,
				Do:   "netcfg interface $IF_NAME address $LOCAL_TUN_IP peer $REMOTE_TUN_IP",
				Undo: "netcfg interface $IF_NAME address none"},
			{Part: fallback.ServerRoute, To: "$EXT_IP", Via: "$EXT_GW_IP",
				Do:   "netcfg route $EXT_IP via $EXT_GW_IP",
				Undo: "netcfg unroute $EXT_IP"},
			{Part: fallback.Route, To: "0.0.0.0/1", Via: "$REMOTE_TUN_IP",
				Do:   "netcfg route 0.0.0.0/1 via $REMOTE_TUN_IP",
				Undo: "netcfg unroute 0.0.0.0/1"},
			{Part: fallback.Route, To: "128.0.0.0/1", Via: "$REMOTE_TUN_IP",
				Do:   "netcfg route 128.0.0.0/1 via $REMOTE_TUN_IP",
				Undo: "netcfg unroute 128.0.0.0/1"},
		},
		Hint: "in /etc/firewall: translate $REMOTE_TUN_IP to the address of $EXT_IF_NAME",
	}
	vars := fallback.Vars{
		fallback.IfName:      "tun0",
		fallback.LocalTunIP:  "192.168.192.1",
		fallback.RemoteTunIP: "192.168.192.254",
		fallback.ExtIP:       "198.51.100.7",
		fallback.ExtGwIP:     "192.0.2.1",
	}
	for _, line := range imaginary.Client {
		change, err := line.Expand(vars)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(change.Do)
		defer fmt.Println(change.Back())
	}
	// Output:
	// netcfg interface tun0 address 192.168.192.1 peer 192.168.192.254
	// netcfg route 198.51.100.7 via 192.0.2.1
	// netcfg route 0.0.0.0/1 via 192.168.192.254
	// netcfg route 128.0.0.0/1 via 192.168.192.254
	// netcfg unroute 128.0.0.0/1
	// netcfg unroute 0.0.0.0/1
	// netcfg unroute 198.51.100.7
	// netcfg interface tun0 address none
}
