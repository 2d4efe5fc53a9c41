package builder

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"imgbuild/builder/disk"
)

// TestPartitions: the places that the code names are those of the layout.
func TestPartitions(t *testing.T) {
	p := example()
	list := (&run{plan: p, hash: p.Hash()}).partitions()
	type place struct {
		name string
		kind string
		mib  int64
	}
	var places []place
	for _, part := range list {
		places = append(places, place{part.Name, part.Type, part.MiB})
	}
	assert.Equal(t, []place{
		{"esp", disk.TypeESP, 256}, {"root-a", disk.TypeRoot, 1024}, {"verity-a", disk.TypeVerity, 32},
		{"_empty", disk.TypeRoot, 1024}, {"_empty", disk.TypeVerity, 32}, {"imgbuild-state", disk.TypeState, 0},
	}, places)
}

// TestImageThatFails has no tools to make its partitions with: nothing is left
// of the image that was begun.
func TestImageThatFails(t *testing.T) {
	p, out := example(), t.TempDir()
	r := &run{Builder: newBuilder(t), plan: p, hash: p.Hash(), dir: t.TempDir(), out: out, formats: Formats()}
	require.Error(t, r.makeImage(t.Context()))
	assert.FileExists(t, r.raw())
	r.close()
	assert.Empty(t, filesBelow(t, out))
}
