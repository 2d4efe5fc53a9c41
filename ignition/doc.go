// Package ignition makes what a machine is told at its first boot: the
// cluster's PKI, kept encrypted beside cluster.yaml, and one Ignition config per
// node with its identity and no more secrets than its role needs.
//
// It deliberately makes no image and talks to no machine: everything here works
// offline, from cluster.yaml and the secrets alone. Nothing on a node is decided
// here either: that is the agent's job, which reads node.json (package
// cluster/node).
package ignition
