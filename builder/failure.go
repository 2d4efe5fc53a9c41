package builder

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"imgbuild/builder/space"
)

// interruptedError is a build that its context has ended.
type interruptedError struct {
	role, step string
	cause      error
}

func (e *interruptedError) Error() string {
	return fmt.Sprintf("build role %s: interrupted in step %s: nothing half-made is left, the same command goes on from there", e.role, e.step)
}

func (e *interruptedError) Unwrap() error { return e.cause }

// explain tells of a full disk: the output folder's, if the file that could not
// be written is there, else the cache's.
func (r *run) explain(err error) error {
	file := new(fs.PathError)
	if errors.As(err, &file) && filepath.Dir(file.Path) == filepath.Clean(r.out) {
		return space.Explain(err, r.out, r.raw())
	}
	return space.Explain(err, r.Cache.Root, r.dir)
}
