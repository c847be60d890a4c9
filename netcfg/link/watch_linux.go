package link

import (
	"context"
	"fmt"
	"sync"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Watch sends a value after interfaces, addresses, routes, policy rules or
// nftables of the host have changed. Changes that come faster than they are
// taken are one value. The channel is closed when ctx is done.
func Watch(ctx context.Context) (<-chan struct{}, error) {
	network, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK,
		unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV4_ROUTE,
		unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE)
	if err != nil {
		return nil, fmt.Errorf("watch the network: %w", err)
	}
	sockets := []*nl.NetlinkSocket{network}
	// A kernel without nftables has nothing to watch there.
	if filter, err := nl.Subscribe(unix.NETLINK_NETFILTER, unix.NFNLGRP_NFTABLES); err == nil {
		sockets = append(sockets, filter)
	}
	changed := make(chan struct{}, 1)
	var readers sync.WaitGroup
	for _, s := range sockets {
		context.AfterFunc(ctx, s.Close)
		readers.Go(func() {
			for ctx.Err() == nil {
				// What the message says does not matter, and an error says that
				// messages were lost, which is a change too.
				s.Receive()
				select {
				case changed <- struct{}{}:
				default: // one is waiting already
				}
			}
		})
	}
	go func() {
		readers.Wait()
		close(changed)
	}()
	return changed, nil
}
