package firstboot

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"filippo.io/age"
	"filippo.io/age/armor"

	"imgbuild/cluster/node"
	"imgbuild/protocol"
)

// A node that was installed over the network has no secrets in its config: it
// claims them, sealed for a key that it makes itself and that never leaves it.

// claimKey is the age identity of a claim that has not ended. It outlives a power
// cut: another key would be refused.
const claimKey = "/var/lib/imgbuild/claim.key"

// askPatience is how long the server may take for an answer.
const askPatience = 20 * time.Second

// claimPhase gets the secrets of a node that is to claim them.
func (m *machine) claimPhase() Phase {
	return Phase{
		Name: "claim",
		Done: func(context.Context) (bool, error) { return m.hasClaimed(), nil },
		Run:  m.claim,
	}
}

// hasClaimed wants every file, with something in it. The key goes last.
func (m *machine) hasClaimed() bool {
	for _, name := range m.claimed() {
		data, err := m.host.read(name)
		if err != nil || len(bytes.TrimSpace(data)) == 0 {
			return false
		}
	}
	return !m.host.exists(claimKey)
}

// claimed are the files that a bundle has, and no others.
func (m *machine) claimed() []string { return append(slices.Clone(m.node.Secrets), node.ReportPath) }

func (m *machine) claim(ctx context.Context) error {
	// The key must be on state: on anything else it would be another at every boot.
	if err := m.checkState(ctx); err != nil {
		return err
	}
	c, err := m.host.readClaim()
	if err != nil {
		return err
	}
	identity, err := m.claimIdentity()
	if err != nil {
		return err
	}
	request := protocol.Claim{Nonce: c.Nonce, Recipient: identity.Recipient().String()}
	var answer protocol.Claimed
	if err := m.host.ask(ctx, c, m.node.Name, "claim", "", request, &answer); err != nil {
		return fmt.Errorf("claiming the secrets of %s at %s (key %s): %w", m.node.Name, c.Server, protocol.Fingerprint(request.Recipient), err)
	}
	bundle, err := openBundle(answer.Bundle, identity, m.node.Name)
	if err != nil {
		return fmt.Errorf("the bundle of %s: %w", m.node.Name, err)
	}
	if err := m.unpackBundle(bundle); err != nil {
		return err
	}
	m.host.Sync()
	if err := os.Remove(m.host.path(claimKey)); err != nil {
		return err
	}
	m.console.say("the secrets of %s are claimed", m.node.Name)
	return nil
}

// claimIdentity is the key of this claim: the one that is there, or a new one. One
// that cannot be read was never used: it is on the disk before it is.
func (m *machine) claimIdentity() (*age.X25519Identity, error) {
	data, err := m.host.read(claimKey)
	if err == nil {
		if identity, err := age.ParseX25519Identity(strings.TrimSpace(string(data))); err == nil {
			return identity, nil
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, err
	}
	if err := m.host.write(claimKey, []byte(identity.String()+"\n"), 0o600); err != nil {
		return nil, err
	}
	m.host.Sync()
	return identity, nil
}

func openBundle(sealed string, identity age.Identity, name string) (protocol.Bundle, error) {
	plain, err := age.Decrypt(armor.NewReader(strings.NewReader(sealed)), identity)
	if err != nil {
		return protocol.Bundle{}, err
	}
	data, err := io.ReadAll(plain)
	if err != nil {
		return protocol.Bundle{}, err
	}
	return protocol.OpenBundle(data, name)
}

// unpackBundle writes the files that node.json names, and refuses all others: the
// server gives secrets, not orders.
func (m *machine) unpackBundle(b protocol.Bundle) error {
	want := m.claimed()
	for _, f := range b.Files {
		if !slices.Contains(want, f.Path) {
			return Stop{fmt.Sprintf("the bundle of %s has a file %s that its node.json does not name: server and config are of different versions; install the node again", m.node.Name, f.Path)}
		}
	}
	for _, d := range b.Directories {
		if !slices.ContainsFunc(want, func(name string) bool { return strings.HasPrefix(name, d.Path+"/") }) {
			continue
		}
		if err := os.MkdirAll(m.host.path(d.Path), 0o755); err != nil {
			return err
		}
		if err := os.Chmod(m.host.path(d.Path), os.FileMode(d.Mode)); err != nil {
			return err
		}
	}
	for _, f := range b.Files {
		if err := m.host.write(f.Path, []byte(f.Text), os.FileMode(f.Mode)); err != nil {
			return err
		}
	}
	return nil
}

func (h *Host) readClaim() (node.Claim, error) {
	data, err := h.read(node.ClaimPath)
	if err != nil {
		return node.Claim{}, err
	}
	c, err := node.DecodeClaim(data)
	if err != nil {
		return c, Stop{fmt.Sprintf("%s is not valid: %v; install the node again", node.ClaimPath, err)}
	}
	return c, nil
}

// ask posts a document to the server that the claim names, and decodes its answer.
func (h *Host) ask(ctx context.Context, c node.Claim, name, what, word string, request, answer any) error {
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	return h.post(ctx, c, name, what, word, body, answer)
}

// maxAnswer is above what any answer has, in bytes.
const maxAnswer = 4 << 20

func (h *Host) post(ctx context.Context, c node.Claim, name, what, word string, body []byte, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.Server+"/v1/nodes/"+name+"/"+what, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	if word != "" {
		request.Header.Set("Authorization", "Bearer "+word)
	}
	// A connection for each: minutes lie between two of them.
	transport := &http.Transport{
		DialContext: h.Dial, TLSClientConfig: protocol.Pinned(c.CA, request.URL.Hostname()), DisableKeepAlives: true,
	}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return errors.New(protocol.Reason(data, response.Status))
	}
	return json.Unmarshal(data, answer)
}
