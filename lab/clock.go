package lab

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ntpPort and the layout of a packet: RFC 5905, section 7.3.
const (
	ntpPort    = 123
	ntpLength  = 48
	ntpClient  = 3
	ntpServer  = 4
	ntpSince   = 2208988800 // seconds from 1900 to 1970
	originAt   = 24
	receiveAt  = 32
	transmitAt = 40
)

// startClock tells the time at an address, or nowhere where it is empty, until
// what it returns is called. A machine runs as well without.
func startClock(ctx context.Context, address string) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	if address != "" {
		go func() {
			if err := tellTime(ctx, address); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		}()
	}
	return cancel
}

// tellTime answers who asks for the time at an address of the host's side, as a
// time server of the network would, until ctx ends. Every machine's supervisor
// does, at the same address: whoever lives answers.
func tellTime(ctx context.Context, address string) error {
	listen := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var set error
		err := c.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
		if err != nil {
			return err
		}
		return set
	}}
	conn, err := listen.ListenPacket(ctx, "udp4", address)
	if err != nil {
		return fmt.Errorf("tell the time at %s: %w", address, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	packet := make([]byte, 512)
	for {
		n, from, err := conn.ReadFrom(packet)
		if err != nil {
			return nil // closed, or the network is gone
		}
		if reply, ok := timeReply(packet[:n], time.Now()); ok {
			_, _ = conn.WriteTo(reply, from) // it asks again
		}
	}
}

// timeReply is a server's answer to a client; false where it is none.
func timeReply(request []byte, now time.Time) ([]byte, bool) {
	if len(request) < ntpLength || request[0]&7 != ntpClient {
		return nil, false
	}
	reply := make([]byte, ntpLength)
	version := request[0] >> 3 & 7
	reply[0] = version<<3 | ntpServer
	reply[1] = 1          // stratum: it has its clock from nobody
	reply[2] = request[2] // how often the client asks
	reply[3] = 0xec       // precision: 2^-20 s
	copy(reply[12:], "LOCL")
	copy(reply[originAt:receiveAt], request[transmitAt:])
	for _, at := range []int{16, receiveAt, transmitAt} {
		putTime(reply[at:], now)
	}
	return reply, true
}

// putTime writes seconds since 1900 and their fraction, 32 bits each.
func putTime(to []byte, t time.Time) {
	binary.BigEndian.PutUint32(to, uint32(t.Unix()+ntpSince))
	binary.BigEndian.PutUint32(to[4:], uint32(uint64(t.Nanosecond())<<32/1e9))
}
