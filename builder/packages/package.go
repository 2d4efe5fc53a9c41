// Package packages resolves package names of a base into pinned packages and
// keeps their files in the cache.
//
// It installs nothing and never changes the host: it runs the host's apt on a
// database of its own, for the signatures and for how the network is reached.
package packages

// Source is where the packages of a base come from.
type Source struct {
	// Name of the base, for example debian-13.
	Name string `json:"name"`
	// Family is "apt" or "dnf".
	Family string `json:"family"`
	// Suite is the distribution's name of the release, for example trixie.
	Suite string `json:"suite"`
	// Mirror replaces the distribution's own mirrors where it is not empty.
	Mirror string `json:"mirror,omitempty"`
	// Components of the archive, for example main.
	Components []string `json:"components"`
}

// Package is one package of a base, pinned.
type Package struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Arch    string `json:"arch"`
	// URI path below the mirror: pool/main/…; Archive tells which of the base's
	// archives (for example "debian" or "debian-security").
	File    string `json:"file"`
	Archive string `json:"archive"`
	// SHA256 is the hex digest of the file, Size its bytes.
	SHA256 string `json:"sha256"`
	Size   int64  `json:"size"`
	// Essential marks, in a tree of its own, what must be there before any
	// maintainer script can run: see markEssential.
	Essential bool `json:"essential,omitempty"`
}
