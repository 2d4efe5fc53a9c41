package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"imgbuild/builder"
	"imgbuild/builder/cache"
	"imgbuild/builder/components"
	"imgbuild/cluster"
	"imgbuild/roles"
)

// What the verbs that build share: the lock, the agent, the plan.

// lockFile is imgbuild.lock beside cluster.yaml.
func (a *app) lockFile() string { return filepath.Join(filepath.Dir(a.clusterFile), "imgbuild.lock") }

// roleSource reads roles from the folder of --roles first.
func roleSource(dir string) (roles.Source, error) {
	s, err := roles.NewSource(dir)
	if err != nil {
		return s, usageError{err}
	}
	return s, nil
}

// selfDir is the folder of imgbuild's own programs.
func selfDir() (string, error) {
	exe, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find imgbuild's own folder: %w", err)
	}
	if exe, err = filepath.EvalSymlinks(exe); err != nil {
		return "", fmt.Errorf("find imgbuild's own folder: %w", err)
	}
	return filepath.Dir(exe), nil
}

// own describes the programs beside imgbuild's that are part of images.
func own(dir string) ([]components.Component, error) {
	var list []components.Component
	for _, name := range roles.OwnNames() {
		sum, err := builder.SumFile(filepath.Join(dir, name))
		if err != nil {
			return nil, fmt.Errorf("the program %s must be beside imgbuild: %w: run make", name, err)
		}
		list = append(list, components.Component{Name: name, Version: sum[:12], Source: builder.SourceSelf, Inputs: sum})
	}
	return list, nil
}

// plan resolves the image of a role.
func (a *app) plan(c *cluster.Cluster, role, rolesDir string) (builder.Plan, error) {
	s, err := roleSource(rolesDir)
	if err != nil {
		return builder.Plan{}, err
	}
	l, err := roles.ReadLock(a.lockFile())
	if err != nil {
		return builder.Plan{}, err
	}
	dir, err := selfDir()
	if err != nil {
		return builder.Plan{}, err
	}
	self, err := own(dir)
	if err != nil {
		return builder.Plan{}, err
	}
	p, err := s.Resolve(c, role, l, self)
	if roles.IsUnknownRole(err) {
		return p, usageError{err}
	}
	return p, err
}

// component is the folder of a component of the lock, which it makes where the
// cache lacks it.
func (a *app) component(ctx context.Context, name string) (string, error) {
	l, err := roles.ReadLock(a.lockFile())
	if err != nil {
		return "", err
	}
	c, err := l.Component(name)
	if err != nil {
		return "", err
	}
	return components.Builder{Cache: cache.Cache{Root: a.cacheDir}, Log: a.log}.Build(ctx, c)
}

// builder executes plans, with a bar on p.
func (a *app) builder(p *progress, offline bool) (builder.Builder, error) {
	dir, err := selfDir()
	if err != nil {
		return builder.Builder{}, err
	}
	var output io.Writer = io.Discard
	if a.verbose {
		output = p
	}
	log, err := a.logTo(p)
	return builder.Builder{
		Cache: cache.Cache{Root: a.cacheDir}, Self: dir, Offline: offline, Log: log, Output: output, Step: p.step,
	}, err
}

// errNoRoles is returned where a verb needs roles and finds none.
var errNoRoles = errors.New("cluster.yaml has no node of a role that this imgbuild can build")
