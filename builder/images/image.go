// Package images wraps components as container images under their upstream
// names, and bakes container images, unpacked, into a containerd store.
package images

// Image is one container image to bake, pinned.
type Image struct {
	// Ref is its upstream name with tag: registry.k8s.io/pause:3.10.2.
	Ref string `json:"ref"`
	// Inputs is the hex SHA-256 of everything that the image is made from.
	Inputs string `json:"inputs"`
}
