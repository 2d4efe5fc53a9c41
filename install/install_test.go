package install

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"imgbuild/protocol"
)

const (
	imageSize = 24 << 20
	diskSize  = 40 << 20
)

// rig is a machine with one disk, and a server that can be ill.
type rig struct {
	t     *testing.T
	image []byte
	// packed is what is served, manifest and order what is said of it.
	packed    []byte
	manifest  protocol.Manifest
	signature string
	order     protocol.Order
	key       ed25519.PrivateKey

	// cut ends connections after so many bytes, 0 is never.
	cut int
	// down is how many requests nobody answers.
	down int

	mu      sync.Mutex
	reports []protocol.Progress
	ranges  []string
	said    []string

	disk string
	*httptest.Server
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, image: fakeImage(), disk: filepath.Join(t.TempDir(), "disk")}
	f, err := os.Create(r.disk)
	require.NoError(t, err)
	require.NoError(t, f.Truncate(diskSize))
	require.NoError(t, f.Close())
	z, err := zstd.NewWriter(nil, zstd.WithEncoderCRC(true))
	require.NoError(t, err)
	r.packed = z.EncodeAll(r.image, nil)
	sum := sha256.Sum256(r.packed)
	r.manifest = protocol.Manifest{
		Version: protocol.ManifestVersion, Role: "worker", Plan: "plan", SHA256: hex.EncodeToString(sum[:]),
		Size: int64(len(r.packed)), RawSize: imageSize, State: protocol.Partition{Number: 6, Start: 16 << 20, Size: 4 << 20},
	}
	_, r.key, err = ed25519.GenerateKey(nil)
	require.NoError(t, err)
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	r.order = protocol.Order{
		Version: protocol.OrderVersion, Node: "worker-1", Role: "worker", Image: r.URL + "/image", Manifest: r.URL + "/manifest",
		Ignition: json.RawMessage(`{"ignition":{"version":"3.4.0"}}`), Report: r.URL + "/report",
	}
	return r
}

// fakeImage starts as an image of ours does, and is mostly zeros.
func fakeImage() []byte {
	image := make([]byte, imageSize)
	copy(image[sector:], "EFI PART")
	image[sector+72] = 2
	image[sector+80], image[sector+84] = 128, 128
	for i, letter := range statePartition {
		image[2*sector+56+2*i] = byte(letter)
	}
	noise := rand.NewChaCha8([32]byte{1})
	noise.Read(image[5<<20 : 7<<20])
	noise.Read(image[imageSize-1000:])
	return image
}

func (r *rig) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down > 0 {
		r.down--
		panic(http.ErrAbortHandler)
	}
	switch q.URL.Path {
	case "/order":
		json.NewEncoder(w).Encode(r.order)
	case "/manifest", "/manifest.sig":
		text, _ := json.Marshal(r.manifest)
		signature := r.signature
		if signature == "" {
			signature = protocol.Sign(r.key, text)
		}
		if strings.HasSuffix(q.URL.Path, ".sig") {
			text = []byte(signature)
		}
		w.Write(text)
	case "/report":
		var p protocol.Progress
		json.NewDecoder(q.Body).Decode(&p)
		r.reports = append(r.reports, p)
		w.Write([]byte("{}"))
	case "/image":
		r.ranges = append(r.ranges, q.Header.Get("Range"))
		r.sendImage(w, q)
	}
}

func (r *rig) sendImage(w http.ResponseWriter, q *http.Request) {
	if r.cut == 0 {
		http.ServeContent(w, q, "", time.Time{}, bytes.NewReader(r.packed))
		return
	}
	var from int
	fmt.Sscanf(q.Header.Get("Range"), "bytes=%d-", &from)
	w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(r.packed)-1, len(r.packed)))
	w.Header().Set("Content-Length", strconv.Itoa(len(r.packed)-from))
	w.WriteHeader(http.StatusPartialContent)
	w.Write(r.packed[from:min(from+r.cut, len(r.packed))])
	if from+r.cut < len(r.packed) {
		panic(http.ErrAbortHandler)
	}
}

// The machine.

func (r *rig) Network(context.Context, Args) error { return nil }

func (r *rig) Disks(context.Context) ([]Disk, error) {
	return []Disk{{Path: r.disk, Serial: "one", Size: diskSize, SectorSize: sector}}, nil
}

func (r *rig) Open(d Disk) (Device, error) {
	f, err := os.OpenFile(d.Path, os.O_RDWR, 0)
	return &fileDevice{f, r}, err
}

func (r *rig) Holds(context.Context, Disk) string { return "ext4 (payroll)" }
func (r *rig) Restart() error                     { return nil }

// fileDevice is a file in a disk's place. Its state partition takes the config as it is.
type fileDevice struct {
	*os.File
	rig *rig
}

func (f *fileDevice) Zero(at, length int64) error {
	return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, at, length)
}

func (f *fileDevice) PutConfig(p protocol.Partition, config []byte) error {
	assert.NotContains(f.rig.t, f.rig.start(), "EFI PART", "not yet bootable")
	_, err := f.WriteAt(config, p.Start)
	return err
}

func (r *rig) start() string {
	data, err := os.ReadFile(r.disk)
	require.NoError(r.t, err)
	return string(data[:4096])
}

// run installs, and gives up after so many pauses.
func (r *rig) run(pauses int) error {
	address, err := url.Parse(r.URL + "/order")
	require.NoError(r.t, err)
	i := Installer{
		Args:    Args{Order: address, Nonce: "nonce", Key: hex.EncodeToString(r.key.Public().(ed25519.PublicKey))},
		Machine: r, Client: http.DefaultClient, Images: http.DefaultClient,
		Say: func(format string, args ...any) { r.said = append(r.said, fmt.Sprintf(format, args...)) },
		Sleep: func(context.Context, time.Duration) error {
			if pauses--; pauses < 0 {
				return errors.New("enough")
			}
			return nil
		},
	}
	return i.Run(r.t.Context())
}

func (r *rig) last() protocol.Progress {
	require.NotEmpty(r.t, r.reports)
	return r.reports[len(r.reports)-1]
}

// bootable says that the disk holds the whole image and the config.
func (r *rig) bootable() {
	r.t.Helper()
	data, err := os.ReadFile(r.disk)
	require.NoError(r.t, err)
	want := bytes.Clone(r.image)
	copy(want[r.manifest.State.Start:], r.order.Ignition)
	assert.True(r.t, bytes.Equal(want, data[:imageSize]), "every byte of the image")
	assert.True(r.t, isZero(data[imageSize:]), "and nothing else")
	assert.Equal(r.t, protocol.StepInstalled, r.last().Step)
	assert.Equal(r.t, "plan", r.last().Plan)
}

// notBootable says that no firmware would start from the disk.
func (r *rig) notBootable() {
	r.t.Helper()
	assert.True(r.t, strings.HasPrefix(r.start(), string(began)))
	assert.NotContains(r.t, r.start(), "EFI PART")
}

func TestAnEmptyDisk(t *testing.T) {
	r := newRig(t)
	require.NoError(t, r.run(0))
	r.bootable()
	var info unix.Stat_t
	require.NoError(t, unix.Stat(r.disk, &info))
	assert.Less(t, info.Blocks*512, int64(8<<20), "zeros are not written")
}

func TestAnInterruptedDownloadGoesOn(t *testing.T) {
	r := newRig(t)
	r.cut = 300_000
	require.NoError(t, r.run(100))
	r.bootable()
	require.Greater(t, len(r.ranges), 4)
	seen := map[string]bool{}
	for _, part := range r.ranges {
		assert.False(t, seen[part], "no byte is asked for twice")
		seen[part] = true
	}
	assert.Contains(t, strings.Join(r.said, "\n"), "goes on in")
}

func TestAServerThatIsAway(t *testing.T) {
	r := newRig(t)
	r.down = 5
	require.NoError(t, r.run(20))
	r.bootable()
}

// TestADamagedImage: whatever is wrong with what is served, the machine says so, and
// does not start from it.
func TestADamagedImage(t *testing.T) {
	for _, test := range []struct {
		name    string
		damage  func(r *rig)
		says    string
		written bool
	}{
		{"one byte", func(r *rig) { r.packed[len(r.packed)/2] ^= 1 }, "is not the one of its manifest", true},
		{"the last byte", func(r *rig) { r.packed[len(r.packed)-1] ^= 1 }, "is not the one of its manifest", true},
		{"truncated", func(r *rig) { r.packed = r.packed[:len(r.packed)-1000] }, "is not the one of its manifest", true},
		{"another image", func(r *rig) { r.manifest.SHA256 = strings.Repeat("0", 64) }, "a byte of it is wrong", true},
		{"another key", func(r *rig) { r.foreignKey() }, "the signature of the image's manifest", false},
		{"another role", func(r *rig) { r.manifest.Role = "master" }, "the manifest is of an image of role master", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			test.damage(r)
			require.Error(t, r.run(1))
			assert.Contains(t, strings.Join(r.said, "\n"), test.says)
			assert.Equal(t, protocol.StepRefused, r.last().Step, "the server shows it")
			assert.Contains(t, r.last().Line, test.says)
			if test.written {
				r.notBootable()
			} else {
				assert.True(t, isZero([]byte(r.start())), "not a byte was written")
			}
		})
	}
}

// foreignKey signs the manifest with a key that nobody knows.
func (r *rig) foreignKey() {
	_, other, err := ed25519.GenerateKey(nil)
	require.NoError(r.t, err)
	text, err := json.Marshal(r.manifest)
	require.NoError(r.t, err)
	r.signature = protocol.Sign(other, text)
}

// TestWhatIsOnTheDisk: nothing is lost that nobody has given up.
func TestWhatIsOnTheDisk(t *testing.T) {
	ext4 := func(r *rig) []byte {
		head := make([]byte, 4096)
		head[1080], head[1081] = 0x53, 0xef
		return head
	}
	ours := func(r *rig) []byte { return r.image[:4096] }
	for _, test := range []struct {
		name            string
		on              func(r *rig) []byte
		wipe, overwrite bool
		says            string
	}{
		{"a file system", ext4, false, false, "holds ext4 (payroll): it is left alone"},
		{"a file system, and an order to overwrite ours", ext4, false, true, "holds ext4 (payroll): it is left alone"},
		{"a file system, wipe", ext4, true, false, ""},
		{"ours", ours, false, false, "holds an imgbuild image"},
		{"ours, to be replaced", ours, false, true, ""},
		{"ours, wipe", ours, true, false, ""},
		{"an installation that has not ended", func(*rig) []byte { return began }, false, false, ""},
		{"something at the end", nil, false, false, "it is left alone"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			r.order.Wipe, r.order.Overwrite = test.wipe, test.overwrite
			at, data := int64(0), []byte("RAID")
			if test.on != nil {
				data = test.on(r)
			} else {
				at = diskSize - 512
			}
			f, err := os.OpenFile(r.disk, os.O_RDWR, 0)
			require.NoError(t, err)
			_, err = f.WriteAt(data, at)
			require.NoError(t, errors.Join(err, f.Close()))
			before, err := os.ReadFile(r.disk)
			require.NoError(t, err)
			if test.says == "" {
				require.NoError(t, r.run(0))
				r.bootable()
				return
			}
			require.Error(t, r.run(0))
			assert.Contains(t, strings.Join(r.said, "\n"), test.says)
			after, err := os.ReadFile(r.disk)
			require.NoError(t, err)
			assert.True(t, bytes.Equal(before, after), "not a byte has changed")
		})
	}
}

func TestChoose(t *testing.T) {
	sda := Disk{Path: "/dev/sda", Links: []string{"/dev/disk/by-id/ata-A"}, Serial: "A", Size: 100e9, SectorSize: 512}
	sdb := Disk{Path: "/dev/sdb", Links: []string{"/dev/disk/by-id/ata-B"}, Serial: "B", Size: 500e9, SectorSize: 512}
	stick := Disk{Path: "/dev/sdc", Size: 32e9, SectorSize: 512, Removable: true}
	native := Disk{Path: "/dev/sdd", Serial: "D", Size: 900e9, SectorSize: 4096}
	all := []Disk{sda, sdb, stick}
	for _, test := range []struct {
		name  string
		disks []Disk
		want  protocol.Disk
		found string
		says  string
	}{
		{"by path", all, protocol.Disk{Path: "/dev/disk/by-id/ata-B"}, "/dev/sdb", ""},
		{"by serial", all, protocol.Disk{Serial: "A"}, "/dev/sda", ""},
		{"by size", all, protocol.Disk{MinSize: 200e9}, "/dev/sdb", ""},
		{"by both sizes", all, protocol.Disk{MinSize: 50e9, MaxSize: 200e9}, "/dev/sda", ""},
		{"the only one that is free", all, protocol.Disk{Except: []string{"/dev/disk/by-id/ata-B"}}, "/dev/sda", ""},
		{"two", all, protocol.Disk{MinSize: 1e9}, "", "2 disks are at least 1.0 GB large: /dev/sda (serial A), 100.0 GB; /dev/sdb (serial B), 500.0 GB; name one with installDisk"},
		{"none", all, protocol.Disk{Path: "/dev/disk/by-id/ata-C"}, "", "no disk is /dev/disk/by-id/ata-C: the machine has /dev/sda (serial A), 100.0 GB"},
		{"no disks", nil, protocol.Disk{}, "", "no disks: is their driver in the initramfs?"},
		{"a stick by its path", all, protocol.Disk{Path: "/dev/sdc"}, "/dev/sdc", ""},
		{"sectors of 4 KiB", []Disk{native}, protocol.Disk{}, "", "logical sectors of 4096 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d, err := choose(test.disks, test.want)
			if test.says != "" {
				require.ErrorContains(t, err, test.says)
				assert.ErrorAs(t, err, new(refusal))
				return
			}
			require.NoError(t, err)
			assert.Equal(t, test.found, d.Path)
		})
	}
}

func TestParseArgs(t *testing.T) {
	line := "console=ttyS0 rd.systemd.unit=imgbuild-install.target imgbuild.order=https://10.77.0.1:8443/v1/nodes/w/order imgbuild.nonce=n imgbuild.ca=sha256:ab imgbuild.key=cd imgbuild.mac=52:54:00:77:00:31 imgbuild.address=10.77.0.31/24 imgbuild.gateway=10.77.0.1"
	a, err := ParseArgs(line)
	require.NoError(t, err)
	assert.Equal(t, "10.77.0.1:8443", a.Order.Host)
	assert.Equal(t, "10.77.0.31/24", a.Address.String())
	for _, key := range []string{"order", "ca", "key", "mac", "address"} {
		_, err := ParseArgs(strings.ReplaceAll(line, "imgbuild."+key+"=", "x="))
		assert.ErrorContains(t, err, "kernel argument imgbuild."+key)
	}
}

func TestUdev(t *testing.T) {
	serial, links := udev("DEVLINKS=/dev/disk/by-id/virtio-one /dev/disk/by-path/pci-1\nID_SERIAL=one\n")
	assert.Equal(t, "one", serial)
	assert.Equal(t, []string{"/dev/disk/by-id/virtio-one", "/dev/disk/by-path/pci-1"}, links)
	serial, _ = udev("ID_SERIAL=QEMU_one\nID_SERIAL_SHORT=one\n")
	assert.Equal(t, "one", serial)
}

func TestPartitionPath(t *testing.T) {
	assert.Equal(t, "/dev/sda6", partitionPath("/dev/sda", 6))
	assert.Equal(t, "/dev/nvme0n1p6", partitionPath("/dev/nvme0n1", 6))
}
