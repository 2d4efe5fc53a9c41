package components

import (
	"bytes"
	"embed"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"imgbuild/builder/cache"
)

// A folder cannot be embedded when it holds a go.mod, so a component's go.mod
// and go.sum are called module.mod and module.sum here.
//
//go:embed */component.yaml */module.mod */module.sum */main.go
var folders embed.FS

// format changes whenever the same inputs would give other programs.
const format = 1

// Spec says how a component is made from Go modules.
type Spec struct {
	Name    string `yaml:"name"`
	Version string `yaml:"version"`
	// Module is the Go module whose required version must be Version.
	Module string `yaml:"module"`
	// LDFlags are the linker's, besides -s -w.
	LDFlags string `yaml:"ldflags"`
	// Programs maps a program's file name to the package it is built from, or
	// to a file of the component's folder.
	Programs map[string]string `yaml:"programs"`
}

// All are the components that imgbuild can make, sorted by name.
func All() ([]Spec, error) {
	files, err := fs.Glob(folders, "*/component.yaml")
	if err != nil {
		return nil, err
	}
	specs := make([]Spec, 0, len(files))
	for _, f := range files {
		s, err := load(path.Dir(f))
		if err != nil {
			return nil, err
		}
		specs = append(specs, s)
	}
	return specs, nil
}

func load(name string) (Spec, error) {
	data, err := folders.ReadFile(name + "/component.yaml")
	if err != nil {
		return Spec{}, fmt.Errorf("component %s: there is none of that name", name)
	}
	var s Spec
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	if err := d.Decode(&s); err != nil {
		return Spec{}, fmt.Errorf("component %s: component.yaml: %w", name, err)
	}
	return s, nil
}

// Resolve pins a component as this imgbuild would make it with the Go release
// goVersion, for example "go1.26.8".
func Resolve(name, goVersion string) (Component, error) {
	s, err := load(name)
	if err != nil {
		return Component{}, err
	}
	parts := []any{format, goVersion}
	files, err := files(name)
	if err != nil {
		return Component{}, err
	}
	for _, f := range files {
		data, err := folders.ReadFile(name + "/" + f)
		if err != nil {
			return Component{}, err
		}
		parts = append(parts, f, data)
	}
	return Component{Name: name, Version: s.Version, Source: "modules", Inputs: cache.Key(parts...)}, nil
}

// files are the names in a component's folder, sorted.
func files(name string) ([]string, error) {
	entries, err := folders.ReadDir(name)
	if err != nil {
		return nil, fmt.Errorf("component %s: there is none of that name", name)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	slices.Sort(list)
	return list, nil
}

// moduleName is the file name that the go command wants.
func moduleName(file string) string {
	if rest, ok := strings.CutPrefix(file, "module."); ok {
		return "go." + rest
	}
	return file
}
