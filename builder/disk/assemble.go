package disk

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/diskfs/go-diskfs/partition/gpt"
)

// Partition types: the Discoverable Partitions Specification's for x86-64. State
// is plain Linux data: the specification's type for /var ties it to a machine-id.
const (
	TypeESP    = string(gpt.EFISystemPartition)
	TypeRoot   = string(gpt.LinuxRootX86_64)
	TypeVerity = "2C7357ED-EBD2-46D9-AEC1-23D437EC2BF5"
	TypeState  = string(gpt.LinuxFilesystem)
)

const (
	sector    = 512
	alignment = 1 << 20
)

// Partition is one partition of an image.
type Partition struct {
	Name string `json:"name"`
	Type string `json:"type"`
	UUID string `json:"uuid"`
	// MiB is its size; 0 takes the size of File, rounded up.
	MiB int64 `json:"mib"`
	// File holds its content; empty for a partition that is reserved.
	File string `json:"-"`
}

// Assemble writes the image out, sparse, with the partitions in their order,
// and tells what it wrote. It appears whole or not at all.
func Assemble(ctx context.Context, out, uuid string, parts []Partition) ([]Written, error) {
	tmp := out + ".part"
	defer os.Remove(tmp)
	written, err := assemble(ctx, tmp, uuid, parts)
	if err != nil {
		return nil, fmt.Errorf("write image %s: %w", out, err)
	}
	if err := os.Rename(tmp, out); err != nil {
		return nil, fmt.Errorf("write image: %w", err)
	}
	return written, nil
}

func assemble(ctx context.Context, path, uuid string, parts []Partition) ([]Written, error) {
	table, size, err := layOut(uuid, parts)
	if err != nil {
		return nil, err
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		return nil, err
	}
	var written []Written
	for i, p := range parts {
		at := table.Partitions[i]
		w := Written{Name: p.Name, Type: p.Type, UUID: p.UUID, Start: int64(at.Start) * sector, Size: int64(at.Size)}
		if p.File != "" {
			if w.Content, w.SHA256, err = copySparse(ctx, f, w.Start, p.File); err != nil {
				return nil, fmt.Errorf("partition %s: %w", p.Name, err)
			}
		}
		written = append(written, w)
	}
	if err := table.Write(f, size); err != nil {
		return nil, fmt.Errorf("partition table: %w", err)
	}
	if err := f.Sync(); err != nil {
		return nil, err
	}
	return written, f.Close()
}

// layOut gives every partition its place, each on a whole MiB, and the size of
// the image in bytes: 1 MiB more at both ends for the table and its backup.
func layOut(uuid string, parts []Partition) (*gpt.Table, int64, error) {
	table := &gpt.Table{LogicalSectorSize: sector, PhysicalSectorSize: sector, GUID: uuid, ProtectiveMBR: true}
	at := int64(alignment)
	for i, p := range parts {
		size, err := partitionSize(p)
		if err != nil {
			return nil, 0, err
		}
		table.Partitions = append(table.Partitions, &gpt.Partition{
			Index: i + 1, Name: p.Name, Type: gpt.Type(p.Type), GUID: p.UUID,
			Start: uint64(at / sector), End: uint64((at+size)/sector) - 1, Size: uint64(size),
		})
		at += size
	}
	return table, at + alignment, nil
}

func partitionSize(p Partition) (int64, error) {
	size := p.MiB << 20
	if p.File == "" {
		return size, nil
	}
	info, err := os.Stat(p.File)
	if err != nil {
		return 0, fmt.Errorf("partition %s: %w", p.Name, err)
	}
	if size == 0 {
		size = (info.Size() + alignment - 1) &^ (alignment - 1)
	}
	if info.Size() > size {
		return 0, fmt.Errorf("partition %s: content has %d MiB, the partition %d: make it larger in the role's disk layout",
			p.Name, (info.Size()+1<<20-1)>>20, p.MiB)
	}
	return size, nil
}

// copySparse copies a file to the offset, leaves out blocks of zeros, and gives
// its size and hex SHA-256.
func copySparse(ctx context.Context, to *os.File, offset int64, from string) (int64, string, error) {
	in, err := os.Open(from)
	if err != nil {
		return 0, "", err
	}
	defer in.Close()
	sum, size := sha256.New(), int64(0)
	block, zeros := make([]byte, 256<<10), make([]byte, 256<<10)
	for {
		if err := ctx.Err(); err != nil {
			return 0, "", err
		}
		n, err := io.ReadFull(in, block)
		sum.Write(block[:n])
		if n > 0 && !bytes.Equal(block[:n], zeros[:n]) {
			if _, err := to.WriteAt(block[:n], offset+size); err != nil {
				return 0, "", err
			}
		}
		size += int64(n)
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return size, hex.EncodeToString(sum.Sum(nil)), nil
		case err != nil:
			return 0, "", err
		}
	}
}
