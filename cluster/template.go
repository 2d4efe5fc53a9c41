package cluster

import (
	"embed"
	"fmt"
	"slices"
)

//go:embed templates/*.yaml
var templates embed.FS

// Template is a commented cluster.yaml of the topology: valid as it is, with
// no warnings.
func Template(topology Topology) ([]byte, error) {
	if !slices.Contains(Topologies(), topology) {
		return nil, fmt.Errorf("topology: %s", oneOf(topology, Topologies()))
	}
	return templates.ReadFile("templates/" + string(topology) + ".yaml")
}
