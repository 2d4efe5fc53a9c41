package disk

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Partition is one partition of an image.
type Partition struct {
	Name string
	Type string
	UUID string
	// MiB is its size; 0 in the last one takes the size of its content, rounded up.
	MiB int64
}

// Image is a raw image that is being written: each partition when its content
// is there, also several at once, and the partition table when all are.
type Image struct {
	// Partitions in their order. What they are called may be set until Finish.
	Partitions []Partition
	f          *os.File
	written    []Written
}

// Create begins the image in the file path, which is sparse. Who creates it
// closes it, and removes the file where it is not finished.
func Create(path string, parts []Partition) (*Image, error) {
	m := &Image{Partitions: parts, written: make([]Written, len(parts))}
	at := int64(alignment)
	for i, p := range parts {
		if p.MiB == 0 && i < len(parts)-1 {
			return nil, fmt.Errorf("write image: partition %s: no size in the role's disk layout", p.Name)
		}
		m.written[i].Start, m.written[i].Size = at, p.MiB<<20
		at += p.MiB << 20
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("write image: %w", err)
	}
	m.f = f
	return m, nil
}

// Write copies the file into partition i, counted from 0.
func (m *Image) Write(ctx context.Context, i int, file string) error {
	if err := m.write(ctx, i, file); err != nil {
		return m.about(i, err)
	}
	return nil
}

// about names the partition that could not be written.
func (m *Image) about(i int, err error) error {
	return fmt.Errorf("write image: partition %s: %w", m.Partitions[i].Name, err)
}

func (m *Image) write(ctx context.Context, i int, file string) error {
	in, err := os.Open(file)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if err := m.reserve(i, info.Size()); err != nil {
		return err
	}
	w, sum := &m.written[i], sha256.New()
	if err := copySparse(ctx, m.f, w.Start, in, w.Content, sum); err != nil {
		return err
	}
	w.SHA256 = hex.EncodeToString(sum.Sum(nil))
	m.begin(w)
	return nil
}

// reserve says how large the content of partition i is.
func (m *Image) reserve(i int, size int64) error {
	w := &m.written[i]
	w.Content = size
	if m.Partitions[i].MiB == 0 {
		w.Size = (w.Content + alignment - 1) &^ (alignment - 1)
	}
	if w.Content > w.Size {
		return fmt.Errorf("content has %d MiB, the partition %d: make it larger in the role's disk layout",
			(w.Content+1<<20-1)>>20, w.Size>>20)
	}
	return nil
}

// begin lets the disk begin to write a partition: there is other work to do
// meanwhile. A file system that cannot be told so is waited for in Sync.
func (m *Image) begin(w *Written) {
	_ = unix.SyncFileRange(int(m.f.Fd()), w.Start, w.Content, unix.SYNC_FILE_RANGE_WRITE)
}

// Finish writes the partition table, of a disk of this UUID, and tells what is
// in the image.
func (m *Image) Finish(uuid string) ([]Written, error) {
	for i, p := range m.Partitions {
		w := &m.written[i]
		w.Name, w.Type, w.UUID = p.Name, p.Type, p.UUID
	}
	primary, backup, err := tables(uuid, m.written)
	if err != nil {
		return nil, fmt.Errorf("write image: %w", err)
	}
	// The file gets its size by the backup's last byte.
	_, err = m.f.WriteAt(primary, 0)
	_, err2 := m.f.WriteAt(backup, imageSize(m.written)-alignment)
	if err := errors.Join(err, err2); err != nil {
		return nil, fmt.Errorf("write image: partition table: %w", err)
	}
	return m.written, nil
}

// Sync waits until everything is on the disk.
func (m *Image) Sync() error {
	if err := m.f.Sync(); err != nil {
		return fmt.Errorf("write image: %w", err)
	}
	return nil
}

// Close ends the writing. It may be called twice.
func (m *Image) Close() error {
	if err := m.f.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("write image: %w", err)
	}
	return nil
}
