package disk

import (
	"bytes"
	"context"
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

// Assemble writes the image out, sparse, with the partitions in their order.
// It appears whole or not at all.
func Assemble(ctx context.Context, out, uuid string, parts []Partition) error {
	tmp := out + ".part"
	defer os.Remove(tmp)
	if err := assemble(ctx, tmp, uuid, parts); err != nil {
		return fmt.Errorf("write image %s: %w", out, err)
	}
	if err := os.Rename(tmp, out); err != nil {
		return fmt.Errorf("write image: %w", err)
	}
	return nil
}

func assemble(ctx context.Context, path, uuid string, parts []Partition) error {
	table, size, err := layOut(uuid, parts)
	if err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		return err
	}
	for i, p := range parts {
		if p.File == "" {
			continue
		}
		if err := copySparse(ctx, f, int64(table.Partitions[i].Start)*sector, p.File); err != nil {
			return fmt.Errorf("partition %s: %w", p.Name, err)
		}
	}
	if err := table.Write(f, size); err != nil {
		return fmt.Errorf("partition table: %w", err)
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return f.Close()
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

// copySparse copies a file to the offset and leaves out blocks of zeros.
func copySparse(ctx context.Context, to *os.File, offset int64, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	block, zeros := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := io.ReadFull(in, block)
		if n > 0 && !bytes.Equal(block[:n], zeros[:n]) {
			if _, err := to.WriteAt(block[:n], offset); err != nil {
				return err
			}
		}
		offset += int64(n)
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return err
		}
	}
}
