// Package components makes the pinned software that does not come from the
// base: from Go modules today, from the projects' own releases where a
// cluster asks for that.
package components

// Component is a pinned component.
type Component struct {
	// Name is the component's folder here: kubernetes, containerd, …
	Name    string `json:"name"`
	Version string `json:"version"`
	// Source is "modules" or "release".
	Source string `json:"source"`
	// Inputs is the hex SHA-256 of everything the component is made from: its
	// go.mod, go.sum, own sources, flags and the Go release.
	Inputs string `json:"inputs"`
}
