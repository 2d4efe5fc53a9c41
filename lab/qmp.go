package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"
)

// qmpRunning asks the QEMU with that number, through its monitor's socket,
// whether the machine's processors run. It waits for the socket to appear.
// https://www.qemu.org/docs/master/interop/qmp-spec.html
func qmpRunning(ctx context.Context, pid int) (bool, error) {
	conn, err := qmpDial(ctx, pid)
	if err != nil {
		return false, fmt.Errorf("monitor of QEMU: %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Now()) })
	defer stop()
	decoder := json.NewDecoder(conn)
	for _, command := range []string{"qmp_capabilities", "query-status"} {
		if err := json.NewEncoder(conn).Encode(map[string]string{"execute": command}); err != nil {
			return false, fmt.Errorf("monitor of QEMU: %s: %w", command, err)
		}
		running, err := qmpReturn(decoder)
		if err != nil {
			return false, fmt.Errorf("monitor of QEMU: %s: %w", command, err)
		}
		if command == "query-status" {
			return running, nil
		}
	}
	return false, nil
}

// qmpReturn reads up to the answer of one command: greeting and events come
// in between.
func qmpReturn(decoder *json.Decoder) (running bool, err error) {
	for {
		var message struct {
			Return *struct {
				Running bool `json:"running"`
			} `json:"return"`
			Error *struct {
				Desc string `json:"desc"`
			} `json:"error"`
		}
		if err := decoder.Decode(&message); err != nil {
			return false, err
		}
		switch {
		case message.Error != nil:
			return false, errors.New(message.Error.Desc)
		case message.Return != nil:
			return message.Return.Running, nil
		}
	}
}

func qmpDial(ctx context.Context, pid int) (net.Conn, error) {
	// Through /proc the path is short wherever the machine's directory is.
	path := fmt.Sprintf("/proc/%d/cwd/%s", pid, qmpFile)
	var dialer net.Dialer
	for {
		conn, err := dialer.DialContext(ctx, "unix", path)
		if err == nil {
			return conn, nil
		}
		if cause := pause(ctx, 20*time.Millisecond); cause != nil {
			return nil, fmt.Errorf("%w (%w)", cause, err)
		}
	}
}
