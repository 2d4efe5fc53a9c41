package firstboot

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"imgbuild/cluster/node"
)

// registryPhases make a node of the role harbor serve container images. Nothing
// of the cluster is needed for it.
func (m *machine) registryPhases() ([]Phase, error) {
	if m.node.Registry == nil {
		return nil, Stop{fmt.Sprintf("node %s has the role harbor, but its config does not say what it serves: render it again", m.node.Name)}
	}
	if want, have := m.node.Registry.Kind, serves(m.image); want != have {
		return nil, Stop{fmt.Sprintf("node %s is to serve images with %s, but its image has %s: build the image with the cluster.yaml that its config is from", m.node.Name, want, have)}
	}
	if m.node.Registry.Kind == "harbor" {
		return m.harborPhases(), nil
	}
	return append(m.dataDiskPhase(registryData), Phase{Name: "registry", Done: m.registryDone, Run: m.startRegistry}), nil
}

// registryData is where systemd keeps the unit's StateDirectory, which it gives
// to the unit's user: systemd.exec(5), DynamicUser.
const registryData = "/var/lib/private/registry"

// registryDaemon checks its configuration itself and ends where it is wrong.
func registryDaemon() daemon {
	return daemon{unit: "registry.service", config: "/run/imgbuild/registry.yaml", mode: 0o600}
}

func (m *machine) registryDone(ctx context.Context) (bool, error) {
	config, err := m.registryConfig()
	if err != nil {
		return false, err
	}
	return m.running(ctx, registryDaemon(), config) && m.askRegistry(ctx) == nil, nil
}

func (m *machine) startRegistry(ctx context.Context) error {
	config, err := m.registryConfig()
	if err != nil {
		return err
	}
	if err := m.start(ctx, registryDaemon(), config); err != nil {
		return err
	}
	return m.host.wait(ctx, gateLimit, m.askRegistry)
}

// registryHead is what does not depend on the node. Reference:
// https://distribution.github.io/distribution/about/configuration/
const registryHead = `# Written by imgbuild-firstboot at every boot.
version: 0.1
log:
  level: info
  accesslog: {disabled: true}
storage:
  # StateDirectory of the unit.
  filesystem: {rootdirectory: /var/lib/registry}
  delete: {enabled: true}
  cache: {blobdescriptor: inmemory}
  maintenance:
    uploadpurging: {enabled: true, age: 168h, interval: 24h, dryrun: false}
health:
  storagedriver: {enabled: true, interval: 10s, threshold: 3}
`

// registryConfig is the registry's. The password is known by its hash only; the
// secret that uploads are signed with lets one go on after a restart, and at
// another node of the same registry.
func (m *machine) registryConfig() ([]byte, error) {
	sum, err := m.secretLine(node.RegistryDir + "/password.sha256")
	if err != nil {
		return nil, err
	}
	upload, err := m.secretLine(node.RegistryDir + "/upload-secret")
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.WriteString(registryHead)
	fmt.Fprintf(&b, "auth:\n  password: {user: admin, sha256: %q}\n", sum)
	fmt.Fprintf(&b, "http:\n  addr: \":%d\"\n  secret: %q\n", m.node.Registry.Port, upload)
	b.WriteString(`  headers: {X-Content-Type-Options: [nosniff]}
  tls:
    minimumtls: tls1.2
    # LoadCredential of the unit.
    certificate: /run/credentials/registry.service/tls.crt
    key: /run/credentials/registry.service/tls.key
`)
	return b.Bytes(), nil
}

// secretLine is a secret that is one line of letters and digits.
func (m *machine) secretLine(path string) (string, error) {
	data, err := m.host.read(path)
	if err != nil {
		return "", err
	}
	text := strings.TrimSpace(string(data))
	if text == "" || strings.ContainsAny(text, "\n\"\\") {
		return "", Stop{fmt.Sprintf("secret %s is not a line of letters and digits: render the config of %s again", path, m.node.Name)}
	}
	return text, nil
}

// askRegistry wants the registry to answer at this node's address, with the
// certificate that other nodes will want to see. That it asks for a password is
// an answer.
func (m *machine) askRegistry(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	ca, err := m.host.read(node.CAPath)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return Stop{fmt.Sprintf("%s has no certificate: render the config of %s again", node.CAPath, m.node.Name)}
	}
	a, err := m.askV2(ctx, hostPort(m.node.Address, m.node.Registry.Port), pool)
	switch {
	case err != nil:
		return fmt.Errorf("waiting for the registry: %w", err)
	case !a.registry:
		return errors.New("waiting for the registry: " + a.url + " is answered by something that is no registry")
	}
	if err := a.failed(); err != nil {
		return fmt.Errorf("waiting for the registry: %w", err)
	}
	return nil
}

// v2Answer is what is said at the root of a registry's API.
type v2Answer struct {
	url    string
	status int
	// registry is what the answer calls itself.
	registry bool
}

// failed is nil for an answer, which the wish for a password is, too.
func (a v2Answer) failed() error {
	if a.status == http.StatusOK || a.status == http.StatusUnauthorized {
		return nil
	}
	return errors.New(a.url + ": HTTP " + strconv.Itoa(a.status))
}

// askV2 asks a registry whether it is one:
// https://github.com/opencontainers/distribution-spec/blob/main/spec.md#determining-support
func (m *machine) askV2(ctx context.Context, address string, pool *x509.CertPool) (v2Answer, error) {
	a := v2Answer{url: "https://" + address + "/v2/"}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, a.url, nil)
	if err != nil {
		return a, err
	}
	client := &http.Client{Transport: &http.Transport{
		DialContext: m.host.Dial, DisableKeepAlives: true,
		TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12, Time: m.host.Now},
	}}
	response, err := client.Do(request)
	if err != nil {
		return a, bare(err)
	}
	defer response.Body.Close()
	a.status, a.registry = response.StatusCode, response.Header.Get("Docker-Distribution-Api-Version") != ""
	return a, nil
}
