package tftp

import (
	"bytes"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pin/tftp/v3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// listen serves one file on loopback.
func listen(t testing.TB, file string) string {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	server := newServer(func(name string) (string, bool) { return file, name == "snponly.efi" }, slog.New(slog.DiscardHandler))
	// Who asks for a file and goes away is not waited for.
	server.SetTimeout(100 * time.Millisecond)
	server.SetRetries(1)
	done := make(chan error, 1)
	go func() { done <- server.Serve(conn) }()
	t.Cleanup(func() {
		server.Shutdown()
		conn.Close()
		<-done
	})
	return conn.LocalAddr().String()
}

func TestTheLoaderIsWhole(t *testing.T) {
	file := filepath.Join(t.TempDir(), "loader")
	want := bytes.Repeat([]byte("imgbuild"), 25000)
	require.NoError(t, os.WriteFile(file, want, 0o644))
	client, err := tftp.NewClient(listen(t, file))
	require.NoError(t, err)

	from, err := client.Receive("snponly.efi", "octet")
	require.NoError(t, err)
	var got bytes.Buffer
	_, err = from.WriteTo(&got)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(want, got.Bytes()))

	_, err = client.Receive("../../etc/passwd", "octet")
	assert.Error(t, err)
	_, err = client.Send("snponly.efi", "octet")
	assert.Error(t, err, "nothing is taken")
}

// FuzzRequests: after any packet the server still gives its file.
func FuzzRequests(f *testing.F) {
	file := filepath.Join(f.TempDir(), "loader")
	require.NoError(f, os.WriteFile(file, []byte("loader"), 0o644))
	address := listen(f, file)
	f.Add([]byte("\x00\x01snponly.efi\x00octet\x00"))
	f.Add([]byte("\x00\x01snponly.efi\x00octet\x00blksize\x001468\x00tsize\x000\x00"))
	f.Add([]byte("\x00\x02x\x00octet\x00"))
	f.Fuzz(func(t *testing.T, packet []byte) {
		conn, err := net.Dial("udp4", address)
		require.NoError(t, err)
		_, _ = conn.Write(packet)
		conn.Close()
		client, err := tftp.NewClient(address)
		require.NoError(t, err)
		client.SetTimeout(2 * time.Second)
		from, err := client.Receive("snponly.efi", "octet")
		require.NoError(t, err)
		var got bytes.Buffer
		_, err = from.WriteTo(&got)
		require.NoError(t, err)
		require.Equal(t, "loader", got.String())
	})
}
