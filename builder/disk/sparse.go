package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// blockSize is what is read at a time.
const blockSize = 256 << 10

// sparseReader reads a file from its start to size, block by block. Holes are
// not read: an image is mostly holes.
type sparseReader struct {
	f        *os.File
	at, size int64
	// Until end, the file is all data or all a hole.
	end  int64
	hole bool
	// zeros are what a hole holds, and stay so.
	buf, zeros [blockSize]byte
}

// next gives the next block, valid until the next call, and whether it is of a
// hole. It is empty at the end.
func (r *sparseReader) next(ctx context.Context) (data []byte, hole bool, err error) {
	if err := ctx.Err(); err != nil || r.at == r.size {
		return nil, false, err
	}
	if r.at == r.end {
		if err := r.extent(); err != nil {
			return nil, false, fmt.Errorf("find holes: %w", err)
		}
	}
	n := min(r.end-r.at, blockSize)
	data = r.zeros[:n]
	if !r.hole {
		data = r.buf[:n]
		if _, err := r.f.ReadAt(data, r.at); err != nil {
			return nil, false, fmt.Errorf("read at byte %d: %w", r.at, err)
		}
	}
	r.at += n
	return data, r.hole, nil
}

// extent finds out what is at r.at, and how far it goes.
func (r *sparseReader) extent() error {
	start, err := r.f.Seek(r.at, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		start, err = r.size, nil
	}
	if err != nil {
		return err
	}
	if r.hole = start > r.at; !r.hole {
		start, err = r.f.Seek(r.at, unix.SEEK_HOLE)
	}
	r.end = min(start, r.size)
	if err == nil && r.end <= r.at {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// copySparse copies a file of size bytes to the offset and leaves out blocks of
// zeros. read gets all that was read, holes too.
func copySparse(ctx context.Context, to *os.File, offset int64, from *os.File, size int64, read io.Writer) error {
	in := &sparseReader{f: from, size: size}
	for {
		at := offset + in.at
		data, hole, err := in.next(ctx)
		if err != nil || len(data) == 0 {
			return err
		}
		err = beside(func() error { _, err := read.Write(data); return err }, func() error {
			if hole || isZero(data) {
				return nil
			}
			_, err := to.WriteAt(data, at)
			return err
		})
		if err != nil {
			return err
		}
	}
}

// isZero compares data, not empty, with itself one byte further.
func isZero(data []byte) bool { return data[0] == 0 && bytes.Equal(data[1:], data[:len(data)-1]) }

// beside runs both at once: digests and disks are slow in different ways.
func beside(one, other func() error) error {
	done := make(chan error)
	go func() { done <- one() }()
	err := other()
	return errors.Join(<-done, err)
}
