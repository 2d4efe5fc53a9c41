package lab

import (
	"context"
	"encoding/binary"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTimeReply(t *testing.T) {
	request := make([]byte, 48)
	request[0] = 4<<3 | 3
	copy(request[40:], "\x01\x02\x03\x04\x05\x06\x07\x08")
	now := time.Date(2026, 1, 2, 3, 4, 5, 500_000_000, time.UTC)
	reply, ok := timeReply(request, now)
	require.True(t, ok)
	assert.Equal(t, byte(4<<3|4), reply[0], "version 4, a server, no leap second, in step")
	assert.Equal(t, request[40:48], reply[24:32], "the client finds its own time again")
	for _, at := range []int{16, 32, 40} {
		assert.EqualValues(t, now.Unix(), int64(binary.BigEndian.Uint32(reply[at:]))-2208988800)
		assert.EqualValues(t, 1<<31, binary.BigEndian.Uint32(reply[at+4:]), "half a second")
	}
	for _, other := range [][]byte{nil, request[:47], append([]byte{4<<3 | 4}, request[1:]...)} {
		_, ok := timeReply(other, now)
		assert.False(t, ok)
	}
}

// Two of them at one address: one answers, and it ends with its context.
func TestTellTime(t *testing.T) {
	free, err := net.ListenPacket("udp4", "127.0.0.1:0")
	require.NoError(t, err)
	address := free.LocalAddr().String()
	free.Close()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	for range 2 {
		go func() { ended <- tellTime(ctx, address) }()
	}
	conn, err := net.Dial("udp4", address)
	require.NoError(t, err)
	defer conn.Close()
	reply := make([]byte, 48)
	require.Eventually(t, func() bool {
		request := make([]byte, 48)
		request[0] = 4<<3 | 3
		if _, err := conn.Write(request); err != nil {
			return false
		}
		_ = conn.SetReadDeadline(time.Now().Add(time.Second))
		n, err := conn.Read(reply)
		return err == nil && n == 48
	}, 10*time.Second, 10*time.Millisecond)
	cancel()
	for range 2 {
		assert.NoError(t, <-ended)
	}
}
