// Package protocol is what a machine that is installed over the network and the
// server say to each other: the signed description of an image, the order to
// install it, and the claim for a node's secrets.
//
// It is data, and the cryptography that this data needs. It opens no connection
// and reads no file: the server, the installer and the agent do.
package protocol

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
)

// The versions of the documents. A reader refuses any other.
const (
	ManifestVersion = "imgbuild/install/v1"
	OrderVersion    = "imgbuild/order/v1"
	BundleVersion   = "imgbuild/bundle/v1"
)

// maxDocument is far above what any of the documents needs, in bytes.
const maxDocument = 4 << 20

// Manifest describes the compressed image of a role. It is signed: who serves the
// image need not be trusted.
type Manifest struct {
	Version string `json:"version"`
	Role    string `json:"role"`
	// Plan is the hash of the image's plan.
	Plan string `json:"plan"`
	// SHA256 and Size are the compressed image's, one zstd frame (RFC 8878) with a
	// checksum of its content.
	SHA256 string `json:"sha256"`
	Size   int64  `json:"size"`
	// RawSize is the image's own, in bytes.
	RawSize int64 `json:"rawSize"`
	// State is the partition that the machine's Ignition config is left on.
	State Partition `json:"state"`
}

// Partition is a partition's place: its number, and its first byte and size in
// bytes.
type Partition struct {
	Number int   `json:"number"`
	Start  int64 `json:"start"`
	Size   int64 `json:"size"`
}

// signed is what the signature is of: the words in front keep a signature of
// another kind of document from being taken for one of this.
func signed(manifest []byte) []byte {
	return append([]byte(ManifestVersion+"\n"), manifest...)
}

// Sign signs a manifest's bytes. The signature is 128 hex digits.
func Sign(key ed25519.PrivateKey, manifest []byte) string {
	return hex.EncodeToString(ed25519.Sign(key, signed(manifest)))
}

// OpenManifest decodes a manifest whose signature is one of the key's, in hex.
func OpenManifest(manifest []byte, signature, key string) (Manifest, error) {
	var m Manifest
	public, err := hex.DecodeString(key)
	if err != nil || len(public) != ed25519.PublicKeySize {
		return m, errors.New("the signing key is not 64 hex digits")
	}
	sum, err := hex.DecodeString(string(bytes.TrimSpace([]byte(signature))))
	if err != nil || !ed25519.Verify(public, signed(manifest), sum) {
		return m, fmt.Errorf("the signature of the image's manifest is not one of the cluster's key %s…: the image is refused", key[:16])
	}
	if err := decode("manifest", manifest, &m); err != nil {
		return m, err
	}
	switch {
	case m.Version != ManifestVersion:
		return m, fmt.Errorf("manifest: version %q, this installer reads %s", m.Version, ManifestVersion)
	case m.Size <= 0 || m.RawSize < 4<<20 || m.State.Number <= 0 || m.State.Start <= 0 || m.State.Size <= 0,
		m.State.Start+m.State.Size > m.RawSize:
		return m, errors.New("manifest: sizes that no image has")
	}
	return m, nil
}

// Order is what a machine is to install, and how.
type Order struct {
	Version string `json:"version"`
	Node    string `json:"node"`
	Role    string `json:"role"`
	// Image is the address of the compressed image, Manifest the one of its
	// manifest, whose signature is at the same address with .sig behind it.
	Image    string `json:"image"`
	Manifest string `json:"manifest"`
	Disk     Disk   `json:"disk"`
	// Wipe lets the installation overwrite anything. Overwrite lets it overwrite an
	// imgbuild image.
	Wipe      bool `json:"wipe,omitempty"`
	Overwrite bool `json:"overwrite,omitempty"`
	// Ignition is the machine's config.
	Ignition json.RawMessage `json:"ignition"`
	// Report is where the machine says how far it is, and Nonce what it says it
	// with; without a Report it says so on its console only.
	Report string `json:"report,omitempty"`
}

// Disk is the disk to install to. With none of the fields it is the machine's
// only one that is not in Except.
type Disk struct {
	Path    string   `json:"path,omitempty"`
	Serial  string   `json:"serial,omitempty"`
	MinSize int64    `json:"minSize,omitempty"`
	MaxSize int64    `json:"maxSize,omitempty"`
	Except  []string `json:"except,omitempty"`
}

// OpenOrder decodes an order strictly.
func OpenOrder(data []byte) (Order, error) {
	var o Order
	if err := decode("order", data, &o); err != nil {
		return o, err
	}
	if o.Version != OrderVersion {
		return o, fmt.Errorf("order: version %q, this installer reads %s", o.Version, OrderVersion)
	}
	if o.Image == "" || o.Manifest == "" || len(o.Ignition) == 0 {
		return o, errors.New("order: image, manifest and ignition are required")
	}
	return o, nil
}

// The steps of an installation, in their order.
const (
	StepLooking    = "looking"    // for the disk, and at what is on it
	StepWriting    = "writing"    // the image
	StepInstalled  = "installed"  // the disk is bootable
	StepRefused    = "refused"    // somebody has to change something
	StepInterrupts = "interrupts" // it is tried again
)

// Progress is what the installer says of itself.
type Progress struct {
	Step string `json:"step"`
	// Bytes of Total of the compressed image have been read.
	Bytes int64 `json:"bytes,omitempty"`
	Total int64 `json:"total,omitempty"`
	// Line says what happens, or what is wrong.
	Line string `json:"line,omitempty"`
	// Plan is the image's.
	Plan string `json:"plan,omitempty"`
}

// Claim asks for a node's secrets, sealed for the one who asks.
type Claim struct {
	Nonce string `json:"nonce"`
	// Recipient is an age X25519 recipient, "age1…".
	Recipient string `json:"recipient"`
}

// Claimed is the answer: a Bundle, sealed with age to the recipient, ASCII armor.
type Claimed struct {
	Bundle string `json:"bundle"`
}

// Bundle is what a node is given and no other may see.
type Bundle struct {
	Version     string      `json:"version"`
	Node        string      `json:"node"`
	Directories []Directory `json:"directories,omitempty"`
	Files       []File      `json:"files"`
}

// Directory is made before the files, with exactly this mode.
type Directory struct {
	Path string `json:"path"`
	Mode uint32 `json:"mode"`
}

// File is one file of a bundle.
type File struct {
	Path string `json:"path"`
	Mode uint32 `json:"mode"`
	Text string `json:"text"`
}

// OpenBundle decodes the bundle of a node strictly.
func OpenBundle(data []byte, node string) (Bundle, error) {
	var b Bundle
	if err := decode("bundle", data, &b); err != nil {
		return b, err
	}
	if b.Version != BundleVersion || b.Node != node {
		return b, fmt.Errorf("bundle: version %q of node %q, expected %s of %s", b.Version, b.Node, BundleVersion, node)
	}
	return b, nil
}

// Error is the body of every answer that is not 200.
type Error struct {
	Error string `json:"error"`
}

// Reason is what the body of such an answer says, or otherwise where it says nothing.
func Reason(body []byte, otherwise string) string {
	var e Error
	if json.Unmarshal(body, &e) != nil || e.Error == "" {
		return otherwise
	}
	return e.Error
}

// Fingerprint is the hex SHA-256 of a recipient, for people: it says who has
// claimed without saying more.
func Fingerprint(recipient string) string {
	sum := sha256.Sum256([]byte(recipient))
	return hex.EncodeToString(sum[:8])
}

// decode refuses fields that it does not know and more than one value. Contents
// never get into the error.
func decode(name string, data []byte, into any) error {
	if len(data) > maxDocument {
		return fmt.Errorf("%s: expected at most %d bytes, got %d", name, maxDocument, len(data))
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if d.More() {
		return fmt.Errorf("%s: expected one JSON object", name)
	}
	return nil
}

// AgentStatus is what the server reads of the status that a node's agent reports:
// see package firstboot, which writes more.
type AgentStatus struct {
	State      string       `json:"state"`
	Phase      string       `json:"phase"`
	WaitingFor string       `json:"waitingFor"`
	Phases     []AgentPhase `json:"phases"`
}

// AgentPhase is one phase of the agent that has begun.
type AgentPhase struct {
	Name    string  `json:"name"`
	Done    bool    `json:"done"`
	Retries int     `json:"retries"`
	Seconds float64 `json:"seconds"`
}
