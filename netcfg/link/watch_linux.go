package link

import (
	"context"
	"fmt"

	"github.com/vishvananda/netlink"
)

// Watch sends a value after addresses or routes of the host have changed.
// Changes that come faster than they are taken are one value. The channel is
// closed when ctx is done, or when the kernel has dropped events because they
// came too fast.
func Watch(ctx context.Context) (<-chan struct{}, error) {
	ctx, cancel := context.WithCancel(ctx)
	addrs := make(chan netlink.AddrUpdate)
	routes := make(chan netlink.RouteUpdate)
	ignore := func(error) {} // an error ends the subscription, which closes its channel
	err := netlink.AddrSubscribeWithOptions(addrs, ctx.Done(), netlink.AddrSubscribeOptions{ErrorCallback: ignore})
	if err != nil {
		cancel()
		return nil, fmt.Errorf("watch addresses: %w", err)
	}
	err = netlink.RouteSubscribeWithOptions(routes, ctx.Done(), netlink.RouteSubscribeOptions{ErrorCallback: ignore})
	if err != nil {
		cancel()
		return nil, fmt.Errorf("watch routes: %w", err)
	}
	changed := make(chan struct{}, 1)
	go func() {
		defer close(changed)
		for addrs != nil || routes != nil {
			var ok bool
			select {
			case _, ok = <-addrs:
				if !ok {
					addrs = nil
				}
			case _, ok = <-routes:
				if !ok {
					routes = nil
				}
			}
			if !ok {
				cancel() // half a subscription is none: end the other half too
				continue
			}
			select {
			case changed <- struct{}{}:
			default: // one is waiting already
			}
		}
	}()
	return changed, nil
}
