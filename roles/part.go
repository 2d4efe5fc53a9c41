package roles

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"imgbuild/builder/disk"
	"imgbuild/builder/rootfs"
	"imgbuild/cluster"
)

// Part is one part.yaml, and what role.yaml shares with it.
type Part struct {
	// Parts are folders below parts/ that come before this one, each once. Their
	// names may have what words gives.
	Parts []string `yaml:"parts"`
	// Packages of the base by its family: "apt" or "dnf".
	Packages map[string][]string `yaml:"packages"`
	Files    []File              `yaml:"files"`
	// Images are references of container images to bake.
	Images []string `yaml:"images"`
	// Without is what else one can do where the images cannot be pulled, for the
	// error.
	Without string `yaml:"without"`
	// Enable and Mask are systemd units.
	Enable []string `yaml:"enable"`
	Mask   []string `yaml:"mask"`
	// Cmdline are kernel arguments.
	Cmdline []string `yaml:"cmdline"`

	// placed are all files in the order in which they are laid: of each folder
	// its rootfs/ first, then its Files.
	placed []rootfs.File
	// without is Without by image.
	without map[string]string
}

// File is one entry of files: a component's file, a directory or a symlink.
type File struct {
	Path string `yaml:"path"`
	From string `yaml:"from"`
	Link string `yaml:"link"`
	Dir  bool   `yaml:"dir"`
	Mode uint32 `yaml:"mode"`
}

// Role is one role.yaml, with its parts.
type Role struct {
	Name string `yaml:"-"`
	// Description is one line for people.
	Description string      `yaml:"description"`
	Disk        disk.Layout `yaml:"disk"`
	Part        `yaml:",inline"`
}

// errNoRole is returned for a role that has no folder.
var errNoRole = errors.New("no such role")

// roleName is what a role can be called: it is part of file names.
var roleName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)

// taken are names that are no roles: two are trees in imgbuild.lock, as a role
// is, and two are folders beside the roles'.
var taken = []string{"base", "boot", "bases", "parts"}

// words are what the names of parts take from cluster.yaml: "{cni}" is
// kubernetes.cni, "{registry}" is registry.kind, "{balancer}" is keepalived where
// masters balance the API among themselves, else none. Of the storage,
// "{storageImages}" is rook.images, "{storageClient}" is baked where other nodes
// have images of it, too, and "{storageOperator}" is rook where the first master
// starts it; else both are none.
func words(c *cluster.Cluster) *strings.Replacer {
	balancer := "none"
	if lb := c.LoadBalancer; lb.CoLocated && lb.Mode == cluster.LBKeepalived {
		balancer = string(lb.Mode)
	}
	registry := c.Registry.Kind
	if registry == "" {
		registry = cluster.RegistryDistribution
	}
	images := c.Rook.Images
	if images == "" {
		images = cluster.RookBaked
	}
	client, operator := "none", "none"
	if len(c.NodesOf(cluster.RoleRook)) > 0 && images == cluster.RookBaked {
		client = string(images)
	}
	if c.Rook.Apply {
		operator = "rook"
	}
	return strings.NewReplacer("{cni}", c.Kubernetes.CNI, "{registry}", string(registry), "{balancer}", balancer,
		"{storageImages}", string(images), "{storageClient}", client, "{storageOperator}", operator)
}

// load reads a role with all its parts merged: parts first, the role's own last.
func (s Source) load(name string, c *cluster.Cluster) (Role, error) {
	r := Role{Name: name}
	if !roleName.MatchString(name) {
		return r, fmt.Errorf("role %q: %w: expected a-z, 0-9 and -, with a letter or digit at both ends", name, errNoRole)
	}
	if slices.Contains(taken, name) {
		return r, fmt.Errorf("role %s: %w: imgbuild itself uses this name, choose another one", name, errNoRole)
	}
	from, err := s.decode(path.Join(name, "role.yaml"), &r)
	if errors.Is(err, fs.ErrNotExist) {
		known, namesErr := s.Names()
		return r, errors.Join(fmt.Errorf("role %s: %w; there are: %s", name, errNoRole, strings.Join(known, ", ")), namesErr)
	}
	if err != nil {
		return r, fmt.Errorf("role %s: %w", name, err)
	}
	own := r.Part
	if err := own.place(from, name); err != nil {
		return r, fmt.Errorf("role %s: %w", name, err)
	}
	r.Part = Part{Packages: map[string][]string{}, without: map[string]string{}}
	if err := s.gather(&r, own.Parts, words(c), map[string]bool{}); err != nil {
		return r, fmt.Errorf("role %s: %w", name, err)
	}
	r.merge(own)
	if r.Disk.ESP <= 0 || r.Disk.Root <= 0 || r.Disk.Verity <= 0 || r.Disk.State <= 0 {
		return r, fmt.Errorf("role %s: role.yaml: disk: want esp, root, verity and state, each in MiB and more than 0", name)
	}
	return r, nil
}

// gather merges parts into a role, those that they stand on before them.
func (s Source) gather(r *Role, names []string, words *strings.Replacer, seen map[string]bool) error {
	for _, name := range names {
		name = words.Replace(name)
		if seen[name] {
			continue
		}
		seen[name] = true
		part, err := s.part(name)
		if err != nil {
			return err
		}
		if err := s.gather(r, part.Parts, words, seen); err != nil {
			return err
		}
		r.merge(part)
	}
	return nil
}

func (s Source) part(name string) (Part, error) {
	var p Part
	folder := path.Join("parts", name)
	from, err := s.decode(path.Join(folder, "part.yaml"), &p)
	if errors.Is(err, fs.ErrNotExist) {
		return p, fmt.Errorf("part %s: there is no %s/part.yaml", name, folder)
	}
	if err != nil {
		return p, fmt.Errorf("part %s: %w", name, err)
	}
	if err := p.place(from, folder); err != nil {
		return p, fmt.Errorf("part %s: %w", name, err)
	}
	return p, nil
}

func (r *Role) merge(p Part) {
	for family, names := range p.Packages {
		r.Packages[family] = append(r.Packages[family], names...)
	}
	r.Images = append(r.Images, p.Images...)
	for _, ref := range p.Images {
		if p.Without != "" {
			r.without[ref] = p.Without
		}
	}
	r.Enable = append(r.Enable, p.Enable...)
	r.Mask = append(r.Mask, p.Mask...)
	r.Cmdline = append(r.Cmdline, p.Cmdline...)
	r.placed = append(r.placed, p.placed...)
}

// place lists what the folder's rootfs/ and its Files lay into the image.
func (p *Part) place(from fs.FS, folder string) error {
	var err error
	if p.placed, err = overlay(from, folder); err != nil {
		return err
	}
	for _, f := range p.Files {
		kinds := 0
		for _, set := range []bool{f.From != "", f.Link != "", f.Dir} {
			if set {
				kinds++
			}
		}
		if kinds != 1 {
			return fmt.Errorf("file %s: want exactly one of from, link and dir", f.Path)
		}
		p.placed = append(p.placed, rootfs.File{Path: f.Path, From: f.From, Link: f.Link, Dir: f.Dir, Mode: f.Mode})
	}
	return nil
}

// files are all files of the image, sorted by path. A path that comes later
// replaces an earlier one, so that a role can change what its parts say.
func (r Role) files() []rootfs.File {
	byPath := map[string]rootfs.File{}
	for _, f := range r.placed {
		byPath[f.Path] = f
	}
	files := make([]rootfs.File, 0, len(byPath))
	for _, f := range byPath {
		files = append(files, f)
	}
	slices.SortFunc(files, func(a, b rootfs.File) int { return strings.Compare(a.Path, b.Path) })
	return files
}

// components names the components that files come from, sorted.
func componentsOf(files []rootfs.File) []string {
	var names []string
	for _, f := range files {
		if f.From != "" {
			name, _, _ := strings.Cut(f.From, "/")
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// sorted is list sorted, each once.
func sorted(list []string) []string {
	s := slices.Clone(list)
	slices.Sort(s)
	return slices.Compact(s)
}
