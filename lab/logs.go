package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Logs writes the console of a machine. With follow it goes on until the
// machine is off, or until ctx is cancelled, which is no error.
func (l *Lab) Logs(ctx context.Context, w io.Writer, name string, follow bool) error {
	m := l.machine(name)
	var offset int64
	for {
		// Asked first: what the machine says until it goes off is still read.
		on := m.on()
		n, err := m.copyConsole(w, offset)
		if err != nil {
			return fmt.Errorf("console of %s: %w", name, err)
		}
		offset += n
		if !follow || !on {
			return nil
		}
		if err := pause(ctx, poll); err != nil {
			return nil
		}
	}
}

// copyConsole copies the console from offset on.
func (m machine) copyConsole(w io.Writer, offset int64) (int64, error) {
	f, err := os.Open(filepath.Join(m.dir, consoleFile))
	if errors.Is(err, os.ErrNotExist) {
		return 0, errors.New("it was not on yet: start it with imgbuild lab up")
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return 0, err
	}
	return io.Copy(w, f)
}
