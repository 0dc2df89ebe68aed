package devnet

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"

	"github.com/leanEthereum/leanspec-node/internal/config"
)

// Ports are those of a node. QUIC is a UDP port, the others are TCP ports.
type Ports struct {
	QUIC    uint16 `json:"quic"`
	API     uint16 `json:"api"`
	Metrics uint16 `json:"metrics"`
}

// Ports are chosen from firstPort up to lastPort, which is below those that systems give to outgoing
// connections: a node that is restarted is to find its ports free again.
const firstPort, lastPort = 10_000, 32_000

// choosePorts returns ports for all nodes.
func (n *Network) choosePorts(files []config.DevnetNode) ([]Ports, error) {
	ports := make([]Ports, len(files))
	free := true
	for i, file := range files {
		ports[i] = Ports{QUIC: file.QUICPort, API: file.APIPort, Metrics: file.MetricsPort}
		if len(n.options.NodeOptions[i].Prefix) == 0 {
			free = free && n.options.StandardPorts && isFree("udp", file.QUICPort) && isFree("tcp", file.APIPort) && isFree("tcp", file.MetricsPort)
		}
	}
	if free {
		return ports, nil
	}
	// From somewhere at random, so that networks that start at the same time do not meet.
	next, left := firstPort+rand.IntN(lastPort-firstPort), lastPort-firstPort
	take := func(network string) (uint16, error) {
		for ; left > 0; left-- {
			port := uint16(next)
			if next++; next == lastPort {
				next = firstPort
			}
			if isFree(network, port) {
				left--
				return port, nil
			}
		}
		return 0, errors.New("there are no free ports left")
	}
	for i := range ports {
		if len(n.options.NodeOptions[i].Prefix) > 0 {
			continue
		}
		for _, p := range []struct {
			network string
			port    *uint16
		}{{"udp", &ports[i].QUIC}, {"tcp", &ports[i].API}, {"tcp", &ports[i].Metrics}} {
			var err error
			if *p.port, err = take(p.network); err != nil {
				return nil, err
			}
		}
	}
	return ports, nil
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
