package builder

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"imgbuild/builder/components"
	"imgbuild/builder/rootfs"
)

// TestChangedFile makes the layers of files twice, with another text of one
// file: what comes from components is not copied again.
func TestChangedFile(t *testing.T) {
	b := newBuilder(t)
	agent := filepath.Join(b.Self, "agent")
	require.NoError(t, os.WriteFile(agent, []byte("program"), 0o755))
	sum, err := SumFile(agent)
	require.NoError(t, err)
	layersOf := func(text string) []rootfs.Layer {
		p := example()
		p.Enable, p.Mask, p.BootFiles = nil, nil, nil
		p.Components = []components.Component{{Name: "agent", Source: SourceSelf, Inputs: sum}}
		p.Files = []rootfs.File{
			{Path: "/etc/file", Data: []byte(text)},
			{Path: "/usr/bin/agent", From: "agent/agent"},
			{Path: "/usr/bin/agent.conf", Data: []byte("text")},
		}
		r := &run{Builder: b, plan: p, hash: p.Hash(), inputs: map[string]string{"agent": sum}}
		require.NoError(t, r.makeFiles(t.Context()))
		require.Len(t, r.layers, 2)
		return r.layers
	}
	first, second := layersOf("one"), layersOf("two")
	assert.Equal(t, first[0], second[0])
	assert.NotEqual(t, first[1], second[1])
	assert.Equal(t, map[string]string{
		filepath.Join(first[0].Dir, "usr"): "a directory", filepath.Join(first[0].Dir, "usr/bin"): "a directory",
		filepath.Join(first[0].Dir, "usr/bin/agent"): "program",
	}, filesBelow(t, first[0].Dir))
	for _, want := range []struct {
		layer      rootfs.Layer
		file, text string
	}{{first[1], "etc/file", "one"}, {second[1], "etc/file", "two"}, {second[1], "usr/bin/agent.conf", "text"}} {
		data, err := os.ReadFile(filepath.Join(want.layer.Dir, want.file))
		require.NoError(t, err)
		assert.Equal(t, want.text, string(data))
	}
}
