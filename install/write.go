package install

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// edge is how much of the image's start and end is kept back until the rest is on
// the disk: the partition table and its backup, without which no firmware starts
// from it. It is also how much is written at a time. Bytes.
const edge = 1 << 20

// maxWindow is how far back the image's frame may refer, and so how much memory it
// takes to unpack, in bytes.
const maxWindow = 8 << 20

// target is a disk, or a file in its place.
type target interface {
	io.WriterAt
	io.ReaderAt
	// Zero makes a stretch read as zeros, with as little writing as it can.
	Zero(at, length int64) error
	// Sync has everything on the medium.
	Sync() error
}

// began is what is at the start of a disk while an installation has not ended.
var began = []byte("imgbuild: an installation began here and has not ended\n")

// begin makes a disk one that nothing starts from, and that we know again.
func begin(t target, size int64) error {
	head := make([]byte, edge)
	copy(head, began)
	if _, err := t.WriteAt(head, 0); err != nil {
		return err
	}
	if err := t.Zero(size-edge, edge); err != nil {
		return err
	}
	return t.Sync()
}

// ends are what begin has left out.
type ends struct {
	head, tail []byte
	tailAt     int64
}

// finish makes the disk one to start from: the backup first, the table last.
func (e ends) finish(t target) error {
	if _, err := t.WriteAt(e.tail, e.tailAt); err != nil {
		return err
	}
	if err := t.Sync(); err != nil {
		return err
	}
	if _, err := t.WriteAt(e.head, 0); err != nil {
		return err
	}
	return t.Sync()
}

// unpack writes the image of size bytes, but for its ends.
func unpack(t target, packed io.Reader, size int64) (ends, error) {
	z, err := zstd.NewReader(packed, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(2))
	if err != nil {
		return ends{}, err
	}
	defer z.Close()
	w := writer{t: t, size: size}
	for at := int64(0); at < size; at += edge {
		piece := make([]byte, min(edge, size-at))
		if _, err := io.ReadFull(z, piece); err != nil {
			return ends{}, unpackError(err, at)
		}
		if err := w.put(piece, at); err != nil {
			return ends{}, fmt.Errorf("write at byte %d: %w", at, err)
		}
	}
	if err := w.flush(); err != nil {
		return ends{}, err
	}
	// The frame's checksum comes after its content.
	if n, err := z.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		if err == nil {
			err = errors.New("it is longer than its manifest says")
		}
		return ends{}, unpackError(err, size)
	}
	return w.ends, t.Sync()
}

// unpackError tells a damaged image from one that could not be fetched.
func unpackError(err error, at int64) error {
	if errors.Is(err, errOther) {
		return err
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		err = errors.New("it ends early")
	}
	return fmt.Errorf("%w: unpack at byte %d: %w", errOther, at, err)
}

// writer writes pieces in their order and leaves out zeros.
type writer struct {
	t    target
	size int64
	ends ends
	// zeros is a stretch that is not zeroed yet.
	zerosAt, zeros int64
}

func (w *writer) put(piece []byte, at int64) error {
	switch {
	case at == 0:
		w.ends.head = piece
		return nil
	case at+int64(len(piece)) == w.size:
		w.ends.tail, w.ends.tailAt = piece, at
		return nil
	case isZero(piece):
		if w.zeros == 0 {
			w.zerosAt = at
		}
		w.zeros += int64(len(piece))
		return nil
	}
	if err := w.flush(); err != nil {
		return err
	}
	_, err := w.t.WriteAt(piece, at)
	return err
}

func (w *writer) flush() error {
	if w.zeros == 0 {
		return nil
	}
	at, n := w.zerosAt, w.zeros
	w.zeros = 0
	return w.t.Zero(at, n)
}

// isZero compares data, not empty, with itself one byte further.
func isZero(data []byte) bool { return data[0] == 0 && bytes.Equal(data[1:], data[:len(data)-1]) }
