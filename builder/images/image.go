// Package images wraps components as container images under their upstream
// names, pulls others by digest, and bakes them, unpacked, into a containerd
// store.
package images

// Image is one container image to bake, pinned.
type Image struct {
	// Ref is its upstream name with tag: registry.k8s.io/pause:3.10.2.
	Ref string `json:"ref"`
	// Inputs is the hex SHA-256 of everything that the image is made from.
	Inputs string `json:"inputs"`
	// Digest of its manifest, "sha256:…", where it is pulled; empty where it is
	// composed.
	Digest string `json:"digest,omitempty"`
}
