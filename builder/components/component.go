// Package components makes the pinned software that does not come from the
// base: compiled from Go modules today (source "modules"); the projects' own
// releases (source "release") have their place in Component and in Build.
//
// A component is a folder here. component.yaml says what is compiled and
// stamped; module.mod and module.sum are its go.mod and go.sum (under another
// name, because go:embed skips directories that hold a go.mod); a main.go is a
// program of our own, compiled in that module. refresh.sh brings them up to
// date. All of it is embedded, so one imgbuild always makes one set.
//
// The package does not decide where a program goes in an image: roles and
// container images do. It does not make the compiler's tree either: what holds
// C is compiled in the tree it is given, so the host needs Go but no C compiler.
package components

// Component is a pinned component.
type Component struct {
	// Name is the component's folder here: kubernetes, containerd, …
	Name    string `json:"name"`
	Version string `json:"version"`
	// Source is "modules" or "release".
	Source string `json:"source"`
	// Go is the Go release that compiles it, as `go env GOVERSION` prints it.
	Go string `json:"go,omitempty"`
	// Inputs is the hex SHA-256 of everything the component is made from: its
	// go.mod, go.sum, own sources, flags and the Go release.
	Inputs string `json:"inputs"`
}

// SourceModules is the Source of components compiled from Go modules.
const SourceModules = "modules"
