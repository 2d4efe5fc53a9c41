// Package rootfs makes the layers of an image's root file system: the base
// layer, package layers on top of it, and layers of plain files.
//
// A layer is a directory in the cache, under the hash of its inputs, that
// overlayfs can use as a lower directory. The same inputs give the same bytes,
// modes, owners and times. Which packages and files belong into a tree is
// decided elsewhere: nothing is resolved and nothing is downloaded here.
package rootfs

// File is one file, directory or symlink that a layer holds besides packages.
type File struct {
	// Path is absolute.
	Path string `json:"path"`
	// Mode holds the permission bits of chmod(2), set-user-id included. Zero
	// stands for 0644, or 0755 for a directory and for a file with From.
	Mode uint32 `json:"mode,omitempty"`
	// Dir makes a directory, whatever the fields below say.
	Dir bool `json:"dir,omitempty"`
	// Data is the content, Link a symlink's target.
	Data []byte `json:"data,omitempty"`
	Link string `json:"link,omitempty"`
	// From is "COMPONENT/FILE": a file that a component made, or a folder of
	// them, whose own modes then hold.
	From string `json:"from,omitempty"`
}
