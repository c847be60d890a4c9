package netlab

import (
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
)

const (
	// shapeQueue is how long a full queue of a shaped interface takes to
	// drain: that of a home router with too much buffer, but not absurdly so.
	shapeQueue = 20 * time.Millisecond
	// shapeBurst is what may leave at once after a pause. The kernel's timers
	// are not punctual enough for much less on a fast link.
	shapeBurst = time.Millisecond
	// minBurst, in bytes, is for slow links: ten Ethernet frames.
	minBurst = 10 * 1514
)

// Shape limits what leaves by an interface to a rate in bits per second, with
// a token bucket and behind it a queue of 20 ms that drops what does not fit.
// It replaces an earlier limit. For a link that is as slow in both directions,
// shape both ends of its cable.
func (h *Host) Shape(name string, bitsPerSecond uint64) error {
	bytes := bitsPerSecond / 8
	burst := max(minBurst, bytes*uint64(shapeBurst)/uint64(time.Second))
	queue := bytes * uint64(shapeQueue) / uint64(time.Second)
	return h.onLink(fmt.Sprintf("shape to %d b/s", bitsPerSecond), name, func(l netlink.Link) error {
		return netlink.QdiscReplace(&netlink.Tbf{
			QdiscAttrs: netlink.QdiscAttrs{
				LinkIndex: l.Attrs().Index,
				Handle:    netlink.MakeHandle(1, 0),
				Parent:    netlink.HANDLE_ROOT,
			},
			Rate:   bytes,
			Buffer: netlink.Xmittime(bytes, uint32(burst)), // the kernel counts it in time
			Limit:  uint32(burst + queue),
		})
	})
}

// Unshape takes the limit of [Host.Shape] away.
func (h *Host) Unshape(name string) error {
	return h.onLink("unshape", name, func(l netlink.Link) error {
		return netlink.QdiscDel(&netlink.Tbf{QdiscAttrs: netlink.QdiscAttrs{
			LinkIndex: l.Attrs().Index,
			Handle:    netlink.MakeHandle(1, 0),
			Parent:    netlink.HANDLE_ROOT,
		}})
	})
}
