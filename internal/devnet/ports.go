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

// Ports are the ports of a node. QUIC is a UDP port, the others are TCP ports.
type Ports struct {
	QUIC    uint16 `json:"quic"`
	API     uint16 `json:"api"`
	Metrics uint16 `json:"metrics"`
}

// The range of the chosen ports, without lastPort. It is below the ports that operating systems assign, so that the ports of a node
// are still free when it restarts.
const firstPort, lastPort = 10_000, 32_000

// reservations are the ports of a network. Other networks on this machine do not choose them until this one has stopped, even
// while its nodes do not run.
type reservations struct{ locks []io.Closer }

// take reserves a port. It returns false if another network has reserved it or a program has it open.
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

// lockPort prevents other networks from choosing a port. The lock is an abstract Unix socket, which has no file and ends with the
// process. Only Linux has them; on other systems, two networks that start at the same moment may choose the same port.
func lockPort(network string, port uint16) (io.Closer, error) {
	if runtime.GOOS != "linux" {
		return io.NopCloser(nil), nil
	}
	return net.Listen("unix", fmt.Sprintf("@leanspec-node/devnet/%s/%d", network, port))
}

// close releases all ports.
func (r *reservations) close() {
	for _, lock := range r.locks {
		_ = lock.Close()
	}
	r.locks = nil
}

// choosePlaces assigns addresses and ports to the nodes and reserves the ports. A node with a prefix is in its own network
// namespace: it has the standard ports, and they are not reserved.
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
	// each calls do for the ports of this machine until one call returns false.
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
	// From a random port on, so that networks that start at the same time rarely try the same ports.
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
		return nil, errors.New("no free ports left")
	}
	return places, nil
}

// isFree reports whether a port can be opened on all addresses.
func isFree(network string, port uint16) bool {
	address := ":" + strconv.Itoa(int(port))
	if network == "udp" {
		conn, err := net.ListenPacket(network, address)
		return err == nil && conn.Close() == nil
	}
	ln, err := net.Listen(network, address)
	return err == nil && ln.Close() == nil
}
