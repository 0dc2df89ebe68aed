package devnet

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"strconv"
)

// Ports are those of a node. QUIC is a UDP port, the others are TCP ports.
type Ports struct {
	QUIC    uint16 `json:"quic"`
	API     uint16 `json:"api"`
	Metrics uint16 `json:"metrics"`
}

// Ports are chosen from firstPort up to lastPort, which is below those that systems give to programs that let them
// choose: a node that is restarted is to find its ports free again.
const firstPort, lastPort = 10_000, 32_000

// reservations are the ports of a network. Other networks on this machine do not choose them before this one has
// stopped, also while its nodes are still to be started or do not run.
type reservations struct{ locks []io.Closer }

// take reserves a port, unless another network has reserved it or any program has it open.
func (r *reservations) take(network string, port uint16) bool {
	lock, err := lockPort(network, port)
	if err != nil {
		return false
	}
	if !isFree(network, port) {
		_ = lock.Close()
		return false
	}
	r.locks = append(r.locks, lock)
	return true
}

// lockPort makes sure that only one network chooses a port. The lock is a socket in the kernel's own namespace, which
// leaves no file and ends with the process. Only Linux has it; elsewhere two networks that start in the same moment may
// choose the same port.
func lockPort(network string, port uint16) (io.Closer, error) {
	if runtime.GOOS != "linux" {
		return io.NopCloser(nil), nil
	}
	return net.Listen("unix", fmt.Sprintf("@leanspec-node/devnet/%s/%d", network, port))
}

// close gives all ports back.
func (r *reservations) close() {
	for _, lock := range r.locks {
		_ = lock.Close()
	}
	r.locks = nil
}

// choosePlaces gives the nodes their addresses and ports, and reserves the ports. Nodes with a prefix, which are in a
// place of their own, have the standard ports, and none of theirs is reserved.
func (r *reservations) choosePlaces(options *Options) ([]Place, error) {
	places := make([]Place, options.Nodes)
	for i := range places {
		node := options.NodeOptions[i]
		ip := node.IP
		if !ip.IsValid() {
			ip = localhost
		}
		places[i] = StandardPlace(i, ip)
		places[i].IsAggregator = places[i].IsAggregator || node.Aggregator
	}
	// each calls a function for the ports that are this machine's, until one fails.
	each := func(do func(network string, port *uint16) bool) bool {
		for i := range places {
			if len(options.NodeOptions[i].Prefix) > 0 {
				continue
			}
			if p := &places[i]; !do("udp", &p.QUIC) || !do("tcp", &p.API) || !do("tcp", &p.Metrics) {
				return false
			}
		}
		return true
	}
	if options.StandardPorts && each(func(network string, port *uint16) bool { return r.take(network, *port) }) {
		return places, nil
	}
	r.close()
	// From somewhere at random, so that networks that start at the same time do not meet.
	next, left := firstPort+rand.IntN(lastPort-firstPort), lastPort-firstPort
	ok := each(func(network string, port *uint16) bool {
		for ; left > 0; left-- {
			*port = uint16(next)
			if next++; next == lastPort {
				next = firstPort
			}
			if r.take(network, *port) {
				left--
				return true
			}
		}
		return false
	})
	if !ok {
		return nil, errors.New("there are no free ports left")
	}
	return places, nil
}

// isFree tries a port on all addresses.
func isFree(network string, port uint16) bool {
	address := ":" + strconv.Itoa(int(port))
	if network == "udp" {
		conn, err := net.ListenPacket(network, address)
		return err == nil && conn.Close() == nil
	}
	ln, err := net.Listen(network, address)
	return err == nil && ln.Close() == nil
}
