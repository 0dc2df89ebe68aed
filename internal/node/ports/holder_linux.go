package ports

import (
	"fmt"
	"slices"

	"github.com/prometheus/procfs"
)

// listening is the kernel's number for the state of a listening TCP socket.
const listening = 10

// holderOf returns the name and the id of the process that uses a port, or "" if it is not known.
// Only root can read the files of other users' processes.
func holderOf(network string, port int) string {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return ""
	}
	var sockets []string
	add := func(state, localPort, inode uint64) {
		if localPort == uint64(port) && (network == "udp" || state == listening) {
			sockets = append(sockets, fmt.Sprintf("socket:[%d]", inode))
		}
	}
	if network == "udp" {
		for _, read := range []func() (procfs.NetUDP, error){fs.NetUDP, fs.NetUDP6} {
			lines, _ := read() // a system without IPv6 has only one of the files
			for _, l := range lines {
				add(l.St, l.LocalPort, l.Inode)
			}
		}
	} else {
		//lint:ignore SA1019 reading the file is slow with very many sockets, which does not matter for an error message
		for _, read := range []func() (procfs.NetTCP, error){fs.NetTCP, fs.NetTCP6} {
			lines, _ := read()
			for _, l := range lines {
				add(l.St, l.LocalPort, l.Inode)
			}
		}
	}
	processes, err := fs.AllProcs()
	if err != nil || len(sockets) == 0 {
		return ""
	}
	for _, process := range processes {
		open, _ := process.FileDescriptorTargets()
		if !slices.ContainsFunc(open, func(file string) bool { return slices.Contains(sockets, file) }) {
			continue
		}
		if name, err := process.Comm(); err == nil {
			return fmt.Sprintf("%s (pid %d)", name, process.PID)
		}
	}
	return ""
}
