package disk

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
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

// Verify reads an image back and compares its partition table, and the content
// of every partition, with what was written.
func Verify(ctx context.Context, image, uuid string, want []Written) error {
	f, err := os.Open(image)
	if err != nil {
		return err
	}
	defer f.Close()
	table, err := gpt.Read(f, sector, sector)
	if err != nil {
		return fmt.Errorf("%s: read partition table: %w", filepath.Base(image), err)
	}
	if !strings.EqualFold(table.GUID, uuid) {
		return fmt.Errorf("%s: disk UUID is %s, want %s", filepath.Base(image), table.GUID, uuid)
	}
	var parts []*gpt.Partition
	for _, p := range table.Partitions {
		if p.Type != gpt.Unused {
			parts = append(parts, p)
		}
	}
	if len(parts) != len(want) {
		return fmt.Errorf("%s: %d partitions, want %d", filepath.Base(image), len(parts), len(want))
	}
	for i, w := range want {
		if err := verifyOne(ctx, f, parts[i], w); err != nil {
			return fmt.Errorf("%s: partition %d (%s): %w", filepath.Base(image), i+1, w.Name, err)
		}
	}
	return nil
}

func verifyOne(ctx context.Context, f *os.File, got *gpt.Partition, want Written) error {
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
	if want.Content == 0 {
		return nil
	}
	sum, err := sumSection(ctx, f, want.Start, want.Content)
	if err != nil {
		return err
	}
	if sum != want.SHA256 {
		return fmt.Errorf("its content has SHA-256 %s, want %s", sum, want.SHA256)
	}
	return nil
}

func sumSection(ctx context.Context, f io.ReaderAt, at, size int64) (string, error) {
	h := sha256.New()
	r := io.NewSectionReader(f, at, size)
	for {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		n, err := io.CopyN(h, r, 32<<20)
		if err == io.EOF || (err == nil && n == 0) {
			return hex.EncodeToString(h.Sum(nil)), nil
		}
		if err != nil {
			return "", fmt.Errorf("read: %w", err)
		}
	}
}
