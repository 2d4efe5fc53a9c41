package roles

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"imgbuild/builder/boot"
	"imgbuild/builder/packages"
)

// Base is one file of bases/: a distribution release.
type Base struct {
	Name       string   `yaml:"name"`
	Family     string   `yaml:"family"`
	Suite      string   `yaml:"suite"`
	Components []string `yaml:"components"`
	// Provided are package names that count as installed.
	Provided []string `yaml:"provided"`
	Packages struct {
		Base     []string `yaml:"base"`
		Boot     []string `yaml:"boot"`
		Tools    []string `yaml:"tools"`
		Compiler []string `yaml:"compiler"`
	} `yaml:"packages"`
	Initramfs boot.Initramfs `yaml:"initramfs"`
}

// toolsBase is the base whose trees make every image and component, whatever
// the image's own base is.
const toolsBase = "debian-13"

func (s Source) base(name string) (Base, error) {
	var b Base
	_, err := s.decode(path.Join("bases", name+".yaml"), &b)
	if errors.Is(err, fs.ErrNotExist) {
		return b, fmt.Errorf("base %s: this imgbuild cannot build images of it yet; there are: %s", name, strings.Join(s.Bases(), ", "))
	}
	if err != nil {
		return b, fmt.Errorf("base %s: %w", name, err)
	}
	return b, nil
}

// Bases lists the distribution releases that images can be made of, sorted.
func (s Source) Bases() []string {
	var names []string
	for _, from := range s.all() {
		found, _ := fs.Glob(from, "bases/*.yaml")
		for _, f := range found {
			names = append(names, strings.TrimSuffix(path.Base(f), ".yaml"))
		}
	}
	return sorted(names)
}

// source is where the base's packages come from. mirror replaces the
// distribution's own, where it is not empty.
func (b Base) source(mirror string) packages.Source {
	return packages.Source{
		Name: b.Name, Family: b.Family, Suite: b.Suite, Mirror: mirror, Components: b.Components,
	}
}
