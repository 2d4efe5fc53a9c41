package artefact

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"
)

// window is how far back a frame refers, which is what a machine needs in memory
// to unpack it.
const window = 4 << 20

// chunk is how much is read at a time, in bytes.
const chunk = 1 << 20

// packed is what compress has made.
type packed struct {
	sum       string
	size, raw int64
}

// compress makes one zstd frame of a file. Holes read as zeros, which cost next to
// nothing in it.
func compress(ctx context.Context, from, to string, progress func(done, total int64)) (packed, error) {
	var p packed
	in, err := os.Open(from)
	if err != nil {
		return p, err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return p, err
	}
	out, err := os.Create(to)
	if err != nil {
		return p, err
	}
	defer out.Close()
	counted := &counter{to: out, sum: sha256.New()}
	z, err := zstd.NewWriter(counted, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithWindowSize(window), zstd.WithEncoderCRC(true))
	if err != nil {
		return p, err
	}
	if err := feed(ctx, z, in, info.Size(), progress); err != nil {
		return p, errors.Join(fmt.Errorf("compress %s: %w", from, err), z.Close())
	}
	if err := errors.Join(z.Close(), out.Sync(), out.Close()); err != nil {
		return p, fmt.Errorf("compress %s: %w", from, err)
	}
	return packed{sum: hex.EncodeToString(counted.sum.Sum(nil)), size: counted.size, raw: info.Size()}, nil
}

func feed(ctx context.Context, z io.Writer, in *os.File, size int64, progress func(done, total int64)) error {
	for done := int64(0); done < size; done += chunk {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := io.CopyN(z, in, min(chunk, size-done)); err != nil {
			return err
		}
		progress(min(done+chunk, size), size)
	}
	return nil
}

// counter counts and digests what goes through.
type counter struct {
	to   io.Writer
	sum  hash.Hash
	size int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.to.Write(p)
	c.size += int64(n)
	c.sum.Write(p[:n])
	return n, err
}
