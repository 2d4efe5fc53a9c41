package disk

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"os"
	"path/filepath"
	"strings"

	"github.com/diskfs/go-diskfs/partition/gpt"
)

// Written is one partition as it was written into an image.
type Written struct {
	Name string `json:"name"`
	Type string `json:"type"`
	UUID string `json:"uuid"`
	// Start and Size are bytes, in the image.
	Start int64 `json:"start"`
	Size  int64 `json:"size"`
	// Content is how many bytes at the partition's start hold something, and
	// SHA256 their digest. Both are empty for a reserved partition.
	Content int64  `json:"content,omitempty"`
	SHA256  string `json:"sha256,omitempty"`
}

// Verify reads an image back, once, and compares every byte with what was
// written: both partition tables, the content of every partition, and nothing
// but zeros elsewhere. It gives the hex SHA-256 of the whole.
func Verify(ctx context.Context, image, uuid string, want []Written) (string, error) {
	f, err := os.Open(image)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum, err := verify(ctx, f, uuid, want)
	if err != nil {
		return "", fmt.Errorf("%s: %w", filepath.Base(image), err)
	}
	return sum, nil
}

func verify(ctx context.Context, f *os.File, uuid string, want []Written) (string, error) {
	// Says what is different; the digests below only say that something is.
	if err := verifyTable(f, uuid, want); err != nil {
		return "", err
	}
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if size := imageSize(want); info.Size() != size {
		return "", fmt.Errorf("it has %d bytes, want %d", info.Size(), size)
	}
	list, err := stretches(uuid, want)
	if err != nil {
		return "", err
	}
	whole, in := sha256.New(), &sparseReader{f: f, size: info.Size()}
	for {
		at := in.at
		data, hole, err := in.next(ctx)
		if err != nil {
			return "", err
		}
		if len(data) == 0 {
			break
		}
		err = beside(func() error { _, err := whole.Write(data); return err },
			func() error { return digest(list, at, data, hole) })
		if err != nil {
			return "", err
		}
	}
	for _, s := range list {
		if got := hex.EncodeToString(s.sum.Sum(nil)); got != s.want {
			return "", fmt.Errorf("%s has SHA-256 %s, want %s", s.name, got, s.want)
		}
	}
	return hex.EncodeToString(whole.Sum(nil)), nil
}

// verifyTable compares the partition table with what was written.
func verifyTable(f *os.File, uuid string, want []Written) error {
	table, err := gpt.Read(f, sector, sector)
	if err != nil {
		return fmt.Errorf("read partition table: %w", err)
	}
	if table.RecoveredFromBackup {
		return fmt.Errorf("its partition table is damaged, only the backup is whole")
	}
	if !strings.EqualFold(table.GUID, uuid) {
		return fmt.Errorf("disk UUID is %s, want %s", table.GUID, uuid)
	}
	var parts []*gpt.Partition
	for _, p := range table.Partitions {
		if p.Type != gpt.Unused {
			parts = append(parts, p)
		}
	}
	if len(parts) != len(want) {
		return fmt.Errorf("%d partitions, want %d", len(parts), len(want))
	}
	for i, w := range want {
		if err := verifyEntry(parts[i], w); err != nil {
			return fmt.Errorf("%s: %w", title(i, w), err)
		}
	}
	return nil
}

func title(i int, w Written) string { return fmt.Sprintf("partition %d (%s)", i+1, w.Name) }

func verifyEntry(got *gpt.Partition, want Written) error {
	here := Written{
		Name: got.Name, Type: strings.ToUpper(string(got.Type)), UUID: strings.ToUpper(got.GUID),
		Start: int64(got.Start) * sector, Size: int64(got.End-got.Start+1) * sector,
	}
	if here.Name != want.Name || here.Type != strings.ToUpper(want.Type) || here.UUID != strings.ToUpper(want.UUID) {
		return fmt.Errorf("it is %s of type %s with UUID %s, want %s, %s, %s", here.Name, here.Type, here.UUID, want.Name, want.Type, want.UUID)
	}
	if here.Start != want.Start || here.Size != want.Size {
		return fmt.Errorf("it has %d bytes from %d, want %d from %d", here.Size, here.Start, want.Size, want.Start)
	}
	return nil
}

// stretch is a part of an image that holds something, from start to before end.
type stretch struct {
	name       string
	start, end int64
	// want is its hex SHA-256, sum what has been read of it so far.
	want string
	sum  hash.Hash
}

// stretches are all parts of an image that hold something, in their order.
func stretches(uuid string, want []Written) ([]stretch, error) {
	primary, backup, err := tables(uuid, want)
	if err != nil {
		return nil, err
	}
	sum := func(data []byte) string { s := sha256.Sum256(data); return hex.EncodeToString(s[:]) }
	size := imageSize(want)
	list := []stretch{{name: "its partition table", end: alignment, want: sum(primary)}}
	for i, w := range want {
		if w.Content > 0 {
			list = append(list, stretch{name: title(i, w) + ": its content", start: w.Start, end: w.Start + w.Content, want: w.SHA256})
		}
	}
	list = append(list, stretch{name: "the backup of its partition table", start: size - alignment, end: size, want: sum(backup)})
	for i := range list {
		list[i].sum = sha256.New()
	}
	return list, nil
}

// digest adds a block at the byte at to the digests of the stretches it is in.
// Outside of them it must be zeros.
func digest(list []stretch, at int64, data []byte, hole bool) error {
	for len(data) > 0 {
		n, in := int64(len(data)), hash.Hash(nil)
		for _, s := range list {
			if at < s.start {
				n = min(n, s.start-at)
				break
			}
			if at < s.end {
				n, in = min(n, s.end-at), s.sum
				break
			}
		}
		switch {
		case in != nil:
			in.Write(data[:n])
		case !hole && !isZero(data[:n]):
			return fmt.Errorf("bytes from %d to %d are not zero, nothing was written there", at, at+n-1)
		}
		at, data = at+n, data[n:]
	}
	return nil
}
