package components

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"imgbuild/builder/cache"
)

// recipeVersion changes whenever the same inputs would give other programs.
const recipeVersion = 1

// arch is Go's name of the architecture that programs are compiled for.
const arch = "amd64"

// Resolve pins the component called name. goVersion is the Go release that
// will compile it, as GoVersion returns it. The compiler's tree is pinned by its
// own packages and not part of Inputs: see Builder.CompilerKey.
func Resolve(name, goVersion string) (Component, error) {
	s, err := Find(name)
	if err != nil {
		return Component{}, err
	}
	if goVersion == "" {
		return Component{}, fmt.Errorf("component %s: the Go release is not known", name)
	}
	files, err := fileSums(name)
	if err != nil {
		return Component{}, fmt.Errorf("component %s: %w", name, err)
	}
	return Component{
		Name: s.Name, Version: s.Version, Source: SourceModules, Go: goVersion,
		Inputs: cache.Key(recipeVersion, files, goVersion, fixedEnv(), buildFlags(s, Program{}), buildFlags(s, Program{Cgo: true}), cFlags()),
	}, nil
}

// fileSums are the hex SHA-256 of the component's files by path.
func fileSums(name string) (map[string]string, error) {
	sums := map[string]string{}
	err := fs.WalkDir(embedded, name, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := embedded.ReadFile(p)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(data)
		sums[p] = hex.EncodeToString(sum[:])
		return nil
	})
	return sums, err
}

// fixedEnv is the environment that decides what comes out of the compiler; it
// replaces the user's own Go settings of these names.
func fixedEnv() []string {
	return []string{
		"GOOS=linux", "GOARCH=" + arch, "GOAMD64=v1",
		"GOFLAGS=-mod=readonly -buildvcs=false", "GOWORK=off", "GOTOOLCHAIN=local", "GOENV=off",
	}
}

// buildFlags are those of `go build` that change the program.
func buildFlags(s Spec, p Program) []string {
	ld := "-s -w"
	if p.Cgo {
		ld += " -linkmode=external -extldflags=-static"
	}
	for _, name := range slices.Sorted(maps.Keys(s.Stamp)) {
		ld += " -X " + name + "=" + s.fill(s.Stamp[name])
	}
	flags := []string{"-trimpath", "-buildvcs=false", "-ldflags", ld}
	if len(p.Tags) > 0 {
		flags = append(flags, "-tags", strings.Join(p.Tags, ","))
	}
	return flags
}

// cFlags are those of gcc for C programs, as upstream builds pause.
func cFlags() []string { return []string{"-Os", "-Wall", "-Werror", "-static", "-s"} }
