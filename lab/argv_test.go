package lab

import (
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

// golden compares got with the file, or writes it with -update.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
		return
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err, "make it with: go test ./lab -update")
	assert.Equal(t, string(want), got, "accept a change with: go test ./lab -update")
}

// lines puts an option and its value on one line each.
func lines(argv []string) string {
	return strings.ReplaceAll(strings.Join(argv, " "), " -", "\n-") + "\n"
}

func TestArgv(t *testing.T) {
	node := Node{Name: "master-1", MAC: "52:54:00:77:00:11", Ignition: []byte("{}"), CPUs: 2, MemoryMiB: 4096}
	golden(t, "testdata/argv-tcg.golden", lines(argv(hardware{
		Lab: "demo", Node: node, Netdev: "tap,ifname=t525400770011,script=no,downscript=no",
	})))
	golden(t, "testdata/argv-kvm-user.golden", lines(argv(hardware{
		Lab: "demo", Node: node, KVM: true, Netdev: "socket,mcast=239.255.1.2:20003,localaddr=127.0.0.1",
	})))
	node.Clock = -time.Hour
	for name, kvm := range map[string]bool{"clock-tcg": false, "clock-kvm": true} {
		golden(t, "testdata/argv-"+name+".golden", lines(argv(hardware{
			Lab: "demo", Node: node, KVM: kvm, Netdev: "tap,ifname=t525400770011,script=no,downscript=no",
			Now: time.Date(2026, 3, 1, 1, 30, 15, 999, time.FixedZone("CET", 3600)),
		})))
	}
	node.Clock, node.Raw = 0, []RawDisk{{Serial: "ssd-1", Bytes: 1 << 30}, {Serial: "hdd-1", Bytes: 1 << 30}}
	golden(t, "testdata/argv-raw.golden", lines(argv(hardware{Lab: "demo", Node: node, Netdev: "tap,ifname=t525400770011"})))
	node.Ignition, node.Raw = nil, nil
	assert.NotContains(t, argv(hardware{Node: node}), "-fw_cfg")
	for _, by := range NetBoots() {
		node.NetBoot = by
		golden(t, "testdata/argv-netboot-"+string(by)+".golden", lines(argv(hardware{Lab: "demo", Node: node, Netdev: "tap,ifname=t525400770011"})))
	}
}
