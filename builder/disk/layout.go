// Package disk makes the file systems and partitions of an image, writes the
// partition table and reads the result back.
package disk

// Layout gives the partitions' sizes in MiB. State is a minimum: it is made
// larger where its content needs it, and grows to the disk at first boot.
type Layout struct {
	ESP    int64 `json:"esp" yaml:"esp"`
	Root   int64 `json:"root" yaml:"root"`
	Verity int64 `json:"verity" yaml:"verity"`
	State  int64 `json:"state" yaml:"state"`
}
