package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestMain lets the scripts call imgbuild as a program of its own.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"imgbuild": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits,
		},
	})
}

// exits CODE ARG… runs imgbuild and demands its exit code: `! exec` of
// testscript cannot tell 1 from 2.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: exits CODE ARG…")
	}
	var stdout, stderr strings.Builder
	for i, arg := range args[1:] {
		if strings.HasSuffix(arg, ".yaml") {
			args[i+1] = ts.MkAbs(arg)
		}
	}
	code := run(context.Background(), args[1:], strings.NewReader(""), &stdout, &stderr)
	_, _ = ts.Stdout().Write([]byte(stdout.String()))
	_, _ = ts.Stderr().Write([]byte(stderr.String()))
	if want := args[0]; want != map[int]string{exitDone: "0", exitFailed: "1", exitUsage: "2"}[code] {
		ts.Fatalf("exit %d, want %s; stderr: %s", code, want, stderr.String())
	}
}

func TestEveryBrokenFileExitsWith2AndItsLine(t *testing.T) {
	files, err := filepath.Glob("../../cluster/testdata/broken/*.yaml")
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(files), 30)
	for _, file := range files {
		var stdout, stderr strings.Builder
		code := run(t.Context(), []string{"validate", "-c", file}, strings.NewReader(""), &stdout, &stderr)
		assert.Equal(t, exitUsage, code, file)
		assert.Empty(t, stdout.String(), file)
		assert.Regexp(t, filepath.Base(file)+`:\d+: `, stderr.String())
		assert.NotContains(t, stderr.String(), "goroutine")
	}
}

func TestDefaultCacheDir(t *testing.T) {
	env := func(pairs ...string) func(string) string {
		return func(name string) string {
			for i := 0; i < len(pairs); i += 2 {
				if pairs[i] == name {
					return pairs[i+1]
				}
			}
			return ""
		}
	}
	for _, test := range []struct {
		env  func(string) string
		uid  int
		want string
	}{
		{env("IMGBUILD_CACHE", "/c", "HOME", "/root"), 0, "/c"},
		{env("XDG_CACHE_HOME", "/x", "HOME", "/root"), 0, "/var/cache/imgbuild"},
		{env("XDG_CACHE_HOME", "/x", "HOME", "/home/me"), 1000, "/x/imgbuild"},
		{env("XDG_CACHE_HOME", "relative", "HOME", "/home/me"), 1000, "/home/me/.cache/imgbuild"},
	} {
		dir, err := defaultCacheDir(test.env, test.uid)
		assert.NoError(t, err)
		assert.Equal(t, test.want, dir)
	}
	_, err := defaultCacheDir(env(), 1000)
	assert.ErrorContains(t, err, "--cache")
}

// A closed pipe or a full disk must not look like success.
func TestFailedWriteIsAFailure(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("no /dev/full: ", err)
	}
	defer full.Close()
	var stderr strings.Builder
	assert.Equal(t, exitFailed, run(t.Context(), []string{"init"}, strings.NewReader(""), full, &stderr))
	assert.Contains(t, stderr.String(), "no space left")
}
