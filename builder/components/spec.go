package components

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

//go:embed */component.yaml */module.mod */module.sum */main.go
var embedded embed.FS

// Spec is a component.yaml.
type Spec struct {
	Name string `yaml:"name"`
	// Version is that of Module, where there is one.
	Version string `yaml:"version"`
	// Module is the Go module that the component is named after. Copy and C
	// take their files from it. Empty where all programs are our own.
	Module string `yaml:"module"`
	// Programs are compiled by Go.
	Programs []Program `yaml:"programs"`
	// C are programs of a single C file.
	C []CProgram `yaml:"c"`
	// Copy are files and directories of Module that come along unchanged.
	Copy []Copy `yaml:"copy"`
	// Stamp sets string variables when linking (`go tool link -X`), by their
	// full name. {version}, {number} (without v),
	// {major} and {minor} stand for Version and its parts.
	Stamp map[string]string `yaml:"stamp"`
}

// Program is a main package.
type Program struct {
	// Package is an import path, or a Go file of the component's folder.
	Package string `yaml:"package"`
	// Output is the program's name in bin/.
	Output string `yaml:"output"`
	// Cgo compiles it with C, in the compiler's tree, and links it statically, so
	// that it runs on every base and in empty container images.
	Cgo bool `yaml:"cgo"`
	// Tags are Go build tags.
	Tags []string `yaml:"tags"`
}

// CProgram is a C file that is a program, linked statically.
type CProgram struct {
	// File is a path in Module.
	File   string `yaml:"file"`
	Output string `yaml:"output"`
	// Define are preprocessor macros; placeholders as in Stamp.
	Define map[string]string `yaml:"define"`
}

// Copy is a file or a directory taken from a module.
type Copy struct {
	// From is a path in Module, To one in the component's directory.
	From string `yaml:"from"`
	To   string `yaml:"to"`
}

// Outputs are the names of the programs in the component's bin/, sorted.
func (s Spec) Outputs() []string {
	var names []string
	for _, p := range s.Programs {
		names = append(names, p.Output)
	}
	for _, c := range s.C {
		names = append(names, c.Output)
	}
	slices.Sort(names)
	return names
}

// NeedsCompiler reports whether the component holds C, and so is compiled in
// the compiler's tree.
func (s Spec) NeedsCompiler() bool {
	return len(s.C) > 0 || slices.ContainsFunc(s.Programs, func(p Program) bool { return p.Cgo })
}

// All lists the components that this imgbuild can make, sorted by name.
func All() ([]Spec, error) {
	names, err := fs.Glob(embedded, "*/component.yaml")
	if err != nil {
		return nil, err
	}
	var specs []Spec
	for _, n := range names {
		s, err := load(path.Dir(n))
		if err != nil {
			return nil, err
		}
		specs = append(specs, s)
	}
	return specs, nil
}

// Find returns the Spec of the component called name.
func Find(name string) (Spec, error) {
	specs, err := All()
	if err != nil {
		return Spec{}, err
	}
	var known []string
	for _, s := range specs {
		if s.Name == name {
			return s, nil
		}
		known = append(known, s.Name)
	}
	return Spec{}, fmt.Errorf("component %s: there is none of this name; known are %s", name, strings.Join(known, ", "))
}

func load(folder string) (Spec, error) {
	file := folder + "/component.yaml"
	data, err := embedded.ReadFile(file)
	if err != nil {
		return Spec{}, fmt.Errorf("component %s: %w", folder, err)
	}
	var s Spec
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	if err := d.Decode(&s); err != nil {
		return Spec{}, fmt.Errorf("%s: %w", file, err)
	}
	if err := s.check(folder); err != nil {
		return Spec{}, fmt.Errorf("%s: %w", file, err)
	}
	return s, nil
}

// check finds what would make the build do something odd.
func (s Spec) check(folder string) error {
	if s.Name != folder {
		return fmt.Errorf("name is %q, want that of its folder", s.Name)
	}
	if s.Version == "" {
		return errors.New("version is missing")
	}
	if s.Module == "" && len(s.C)+len(s.Copy) > 0 {
		return errors.New("c and copy need a module to take files from")
	}
	outputs := s.Outputs()
	if len(outputs)+len(s.Copy) == 0 || len(slices.Compact(slices.Clone(outputs))) != len(outputs) {
		return errors.New("want one or more programs, each with an output of its own, or files to copy")
	}
	paths := slices.Clone(outputs)
	for _, c := range s.Copy {
		paths = append(paths, c.From, c.To)
	}
	for _, c := range s.C {
		paths = append(paths, c.File)
	}
	for _, p := range paths {
		if !fs.ValidPath(p) || p == "." {
			return fmt.Errorf("%q: want a relative path that stays below it", p)
		}
	}
	return nil
}

// fill replaces the placeholders of Stamp and Define.
func (s Spec) fill(text string) string {
	number := strings.TrimPrefix(s.Version, "v")
	parts := append(strings.Split(number, "."), "", "")
	return strings.NewReplacer("{version}", s.Version, "{number}", number, "{major}", parts[0], "{minor}", parts[1]).Replace(text)
}
