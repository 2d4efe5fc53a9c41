// Package rootfs makes the layers of an image's root file system: the base
// layer, package layers on top of it, and layers of plain files.
package rootfs

// File is one file, directory or symlink that a layer holds besides packages.
type File struct {
	// Path is absolute.
	Path string `json:"path"`
	// Mode holds the permission bits. A file with neither Data, Link nor From
	// and Dir set is a directory.
	Mode uint32 `json:"mode,omitempty"`
	Dir  bool   `json:"dir,omitempty"`
	// Data is the content, Link a symlink's target.
	Data []byte `json:"data,omitempty"`
	Link string `json:"link,omitempty"`
	// From is "COMPONENT/FILE": a file that a component made.
	From string `json:"from,omitempty"`
}
