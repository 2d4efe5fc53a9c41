package disk

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

// Make has the content of partition i, of size bytes, made where it belongs: in
// the image, from the byte offset on. Then it keeps a compressed copy in the
// file packed and returns the content's hex SHA-256.
func (m *Image) Make(ctx context.Context, i int, size int64, packed string, f func(image string, offset int64) error) (sum string, err error) {
	if err := m.make(ctx, i, size, packed, f); err != nil {
		return "", m.about(i, err)
	}
	return m.written[i].SHA256, nil
}

func (m *Image) make(ctx context.Context, i int, size int64, packed string, f func(image string, offset int64) error) error {
	if err := m.reserve(i, size); err != nil {
		return err
	}
	w := &m.written[i]
	if err := f(m.f.Name(), w.Start); err != nil {
		return err
	}
	out, err := os.Create(packed)
	if err != nil {
		return err
	}
	defer out.Close()
	if w.SHA256, err = m.pack(ctx, w, out); err != nil {
		return err
	}
	return out.Close()
}

// pack compresses a partition's content, and makes holes in the image where
// whoever made it has written zeros. Speed counts: it is read in seconds whatever
// its size.
func (m *Image) pack(ctx context.Context, w *Written, to io.Writer) (sum string, err error) {
	z, err := zstd.NewWriter(to, zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return "", err
	}
	whole := sha256.New()
	in := &sparseReader{f: m.f, at: w.Start, end: w.Start, size: w.Start + w.Content}
	for {
		at := in.at
		data, hole, err := in.next(ctx)
		if err != nil {
			return "", errors.Join(err, z.Close())
		}
		if len(data) == 0 {
			return hex.EncodeToString(whole.Sum(nil)), z.Close()
		}
		if !hole && isZero(data) {
			// A file system that cannot do this keeps the zeros.
			_ = unix.Fallocate(int(m.f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, at, int64(len(data)))
		}
		err = beside(func() error { _, err := whole.Write(data); return err },
			func() error { _, err := z.Write(data); return err })
		if err != nil {
			return "", errors.Join(err, z.Close())
		}
	}
}

// Unpack writes what Make has kept into partition i. size and sum are the
// content's; another content is an error.
func (m *Image) Unpack(ctx context.Context, i int, size int64, packed, sum string) error {
	if err := m.unpack(ctx, i, size, packed, sum); err != nil {
		return m.about(i, err)
	}
	return nil
}

func (m *Image) unpack(ctx context.Context, i int, size int64, packed, sum string) error {
	if err := m.reserve(i, size); err != nil {
		return err
	}
	in, err := os.Open(packed)
	if err != nil {
		return err
	}
	defer in.Close()
	z, err := zstd.NewReader(in)
	if err != nil {
		return err
	}
	defer z.Close()
	w, whole, buf := &m.written[i], sha256.New(), make([]byte, blockSize)
	for at := int64(0); at < size; {
		if err := ctx.Err(); err != nil {
			return err
		}
		data := buf[:min(blockSize, size-at)]
		if _, err := io.ReadFull(z, data); err != nil {
			return fmt.Errorf("unpack %s: %w", packed, err)
		}
		err := beside(func() error { _, err := whole.Write(data); return err }, func() error {
			if isZero(data) {
				return nil
			}
			_, err := m.f.WriteAt(data, w.Start+at)
			return err
		})
		if err != nil {
			return err
		}
		at += int64(len(data))
	}
	if w.SHA256 = hex.EncodeToString(whole.Sum(nil)); w.SHA256 != sum {
		return fmt.Errorf("%s has SHA-256 %s unpacked, want %s", packed, w.SHA256, sum)
	}
	m.begin(w)
	return nil
}
