package p2p

import (
	"errors"
	"strconv"
	"strings"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/leanEthereum/leanspec-node/internal/config"
	"github.com/leanEthereum/leanspec-node/internal/enr"
	"github.com/leanEthereum/leanspec-node/internal/setting"
)

// Bootnode is a peer that the node keeps dialing.
type Bootnode struct {
	// ID is empty where only the address is known. The peer then tells who it is
	// when it is dialed.
	ID   peer.ID
	Addr ma.Multiaddr
}

// ErrNotQUIC says that the multiaddr of a bootnode is valid, but that this node
// cannot dial it.
var ErrNotQUIC = errors.New("not a QUIC address")

// ParseBootnode reads a node record ("enr:…"), or a QUIC multiaddr with or
// without a peer id at its end. Errors are of type [*config.Error]; the error for
// any other multiaddr wraps ErrNotQUIC.
//
// leanSpec: cli/bootstrap.py, NodeBootstrap.from_cli_args
func ParseBootnode(s string) (Bootnode, error) {
	refuse := func(problem string, cause error) (Bootnode, error) {
		shown := s
		if len(shown) > 80 {
			shown = shown[:80] + "…"
		}
		return Bootnode{}, &config.Error{Setting: setting.Bootnode, Value: strconv.Quote(shown), Problem: problem, Err: cause}
	}
	fail := func(problem string) (Bootnode, error) { return refuse(problem, nil) }
	s = strings.TrimPrefix(s, "\ufeff") // of the file that the text was copied from
	if strings.HasPrefix(s, "enr:") {
		record, err := enr.Parse(s)
		if err != nil {
			return fail(err.Error())
		}
		switch {
		case !record.Valid():
			return fail("ENR structurally invalid: want identity scheme v4 and a secp256k1 key of 33 bytes")
		case !record.VerifySignature():
			return fail("ENR signature verification failed")
		case record.Multiaddr() == "":
			return fail("ENR has no UDP connection info: want ip, and quic or udp")
		}
		key, err := crypto.UnmarshalSecp256k1PublicKey(record.PublicKey())
		if err != nil {
			return fail("ENR structurally invalid: " + err.Error())
		}
		id, err := peer.IDFromPublicKey(key)
		if err != nil {
			return fail("ENR structurally invalid: " + err.Error())
		}
		addr, err := ma.NewMultiaddr(record.Multiaddr())
		if err != nil {
			return fail(err.Error())
		}
		return Bootnode{id, addr}, nil
	}
	full, err := ma.NewMultiaddr(s)
	if err != nil {
		return fail("want a multiaddr or an ENR, such as /ip4/192.0.2.1/udp/9001/quic-v1")
	}
	addr, id := peer.SplitAddr(full)
	if addr == nil || !dialable(addr) {
		return refuse("want a QUIC address such as /ip4/192.0.2.1/udp/9001/quic-v1", ErrNotQUIC)
	}
	return Bootnode{id, addr}, nil
}

// dialable reports whether the node can dial an address: QUIC over UDP, at an IP
// address or a name.
func dialable(a ma.Multiaddr) bool {
	protocols := a.Protocols()
	if len(protocols) != 3 || protocols[1].Code != ma.P_UDP || protocols[2].Code != ma.P_QUIC_V1 {
		return false
	}
	switch protocols[0].Code {
	case ma.P_IP4, ma.P_IP6, ma.P_DNS, ma.P_DNS4, ma.P_DNS6:
		return true
	default:
		return false
	}
}
