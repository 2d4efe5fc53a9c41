package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, string(want), got)
}

// testReport has boots of both sides, a value that could not be measured, and
// a step that only one side has.
func testReport() report {
	baked := &side{
		boots: []boot{
			{[]step{{"the node is Ready", 100}}, []step{{"phase init", 60}, {"phase node", 5.25}, {"phase api", 0.1}}},
			{[]step{{"the node is Ready", 140}}, []step{{"phase init", 90}, {"phase node", 6.75}}},
			{[]step{{"the node is Ready", 120}}, []step{{"phase init", 70}, {"phase node", 0.125}}},
		},
		later: []boot{{moments: []step{{"the node is Ready", 50}}}},
	}
	imported := &side{boots: []boot{{[]step{{"the node is Ready", 180}}, []step{{stepImport, 80}, {"phase init", 77}, {"phase node", 5}}}}}
	tables := []table{{
		Title: "Building again", What: "what", Columns: []string{"seconds", "written, MiB"},
		Rows: []row{{"nothing changed", []sample{{0.031, 0.04}, nil}}},
	}}
	return report{Host: "2 CPUs, no KVM (TCG)", Tables: append(tables, bootTables(baked, imported, layersGzip)...)}
}

func TestMarkdown(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, testReport().writeMarkdown(&b))
	golden(t, "testdata/report.golden", b.String())
}

// JSON holds every value, not medians.
func TestJSON(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, testReport().writeJSON(&b))
	var again report
	require.NoError(t, json.Unmarshal(b.Bytes(), &again))
	assert.Equal(t, testReport(), again)
}

func TestMedian(t *testing.T) {
	assert.Zero(t, sample(nil).median())
	assert.Equal(t, 3.0, sample{9, 3, 1}.median())
	assert.Equal(t, 4.0, sample{9, 3, 1, 5}.median())
	s := sample{9, 3, 1}
	s.median()
	assert.Equal(t, sample{9, 3, 1}, s, "values stay in the order of the runs")
}

func TestFigure(t *testing.T) {
	for want, v := range map[string]float64{"0.00": 0, "0.03": 0.031, "5.2": 5.2, "99.5": 99.46, "257": 257.4} {
		assert.Equal(t, want, figure(v))
	}
}

func TestParse(t *testing.T) {
	o, err := parse(nil)
	require.NoError(t, err)
	assert.True(t, o.builds && o.boots, "everything, where no part is named")
	assert.Equal(t, 3, o.runs)
	o, err = parse([]string{"--boots", "--runs", "1", "--layers", "tar"})
	require.NoError(t, err)
	assert.Equal(t, options{boots: true, runs: 1, again: 1, layers: layersTar}, o)
	for _, args := range [][]string{{"--runs", "0"}, {"--again", "-1"}, {"--layers", "zstd"}, {"boots"}} {
		_, err := parse(args)
		assert.Error(t, err, strings.Join(args, " "))
	}
}
