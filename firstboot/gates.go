package firstboot

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path"
	"slices"
	"strings"
	"time"

	"imgbuild/cluster/node"
)

// How long one attempt of a gate waits before it says so.
const gateLimit = 20 * time.Second

const (
	// statePath is where the initramfs has mounted the state partition.
	statePath = "/run/imgbuild/state"
	// containerdSocket is where the kubelet and kubeadm find containerd.
	containerdSocket = "/run/containerd/containerd.sock"
)

// gates are what must be right before anything is changed, cheapest first, and the
// claim of the secrets, without which nothing else can be. A
// wrong image or a missing disk stops: booting on would make a new, empty
// machine of one that has data.
func (m *machine) gates() []Phase {
	phases := []Phase{gate(m.host, "identity", gateLimit, m.checkIdentity)}
	if m.host.exists(node.ClaimPath) {
		phases = append(phases, m.claimPhase())
	}
	return append(phases,
		gate(m.host, "secrets", gateLimit, m.checkSecrets),
		gate(m.host, "state", gateLimit, m.checkState),
		gate(m.host, "hostname", gateLimit, m.checkHostname),
		gate(m.host, "address", gateLimit, m.checkAddress),
		gate(m.host, "clock", gateLimit, m.checkClock),
	)
}

// containerGates are those of nodes that run containers. Which nodes do is
// known once the identity is.
func (m *machine) containerGates() []Phase {
	if !hasKubelet(m.node.Role) && (m.node.Registry == nil || m.node.Registry.Kind != "harbor") {
		return nil
	}
	return []Phase{
		gate(m.host, "containerd", gateLimit, m.checkContainerd),
		gate(m.host, "images", gateLimit, m.checkImages),
	}
}

// checkIdentity reads who the node is and whether its image is one for it.
func (m *machine) checkIdentity(ctx context.Context) error {
	if err := m.readIdentity(); err != nil {
		return err
	}
	m.report.update(func(s *Status) { s.Node, s.Role = m.node.Name, m.node.Role })
	m.tellOutside(ctx)
	return nil
}

func (m *machine) readIdentity() error {
	data, err := m.host.read(node.Path)
	if err != nil {
		return Stop{fmt.Sprintf("no identity: %v: the machine was booted without an Ignition config of imgbuild; give it one and install it again", reason(err))}
	}
	n, err := node.Decode(data)
	if err != nil {
		return Stop{fmt.Sprintf("%s is not valid: %v; render it with the imgbuild that built the image", node.Path, err)}
	}
	data, err = m.host.read(node.ImagePath)
	if err != nil {
		return Stop{fmt.Sprintf("%s: %v: this is not an image of imgbuild", node.ImagePath, reason(err))}
	}
	image, err := node.DecodeImage(data)
	if err != nil {
		return Stop{fmt.Sprintf("%s is not valid: %v; build the image again", node.ImagePath, err)}
	}
	if n.Role != image.Role {
		return Stop{fmt.Sprintf("node %s has the role %s, but the image is for %s: boot it with the image of its role", n.Name, n.Role, image.Role)}
	}
	if have := image.Components["kubernetes"]; n.Kubernetes.Version != have && (have != "" || hasKubelet(n.Role)) {
		return Stop{fmt.Sprintf("node %s is to run Kubernetes %s, but the image has %s: build the image or render the config again", n.Name, n.Kubernetes.Version, orNone(have))}
	}
	m.node, m.image = n, image
	return nil
}

// checkSecrets wants every secret to be there, certificates and keys as PEM.
// What is in it kubeadm and the phases check; nothing of it gets into a message.
func (m *machine) checkSecrets(context.Context) error {
	for _, name := range m.node.Secrets {
		data, err := m.host.read(name)
		if err != nil {
			return Stop{fmt.Sprintf("secret %s is missing: %v: Ignition did not deliver it; render the config of %s again and install it again", name, reason(err), m.node.Name)}
		}
		if len(bytes.TrimSpace(data)) == 0 {
			return Stop{fmt.Sprintf("secret %s is empty: install %s again", name, m.node.Name)}
		}
		if block, _ := pem.Decode(data); block == nil && isPEM(name) {
			return Stop{fmt.Sprintf("secret %s is not PEM: render the config of %s again", name, m.node.Name)}
		}
	}
	return nil
}

// isPEM tells certificates and keys from tokens and passwords.
func isPEM(name string) bool {
	return slices.Contains([]string{".crt", ".key", ".pub"}, path.Ext(name))
}

// checkState wants /var to be on the state partition: an empty etcd directory
// on something else would look like a new node.
func (m *machine) checkState(context.Context) error {
	data, err := m.host.read("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("the mounts: %w", err)
	}
	state, ok := mountedDevice(string(data), statePath)
	if !ok {
		return Stop{fmt.Sprintf("%s is not a mount point: the state partition is missing, and without it this would look like a new node", statePath)}
	}
	variable, ok := mountedDevice(string(data), "/var")
	if !ok || variable != state {
		return Stop{"/var is not on the state partition: what the node writes would not survive a boot"}
	}
	return nil
}

// mountedDevice is the device number of what is mounted last at a path.
// Format: proc_pid_mountinfo(5); field 3 is major:minor, field 5 the mount point.
func mountedDevice(mountinfo, point string) (device string, ok bool) {
	for line := range strings.Lines(mountinfo) {
		fields := strings.Fields(line)
		if len(fields) > 5 && fields[4] == point {
			device, ok = fields[2], true
		}
	}
	return device, ok
}

func (m *machine) checkHostname(context.Context) error {
	have, err := m.host.Hostname()
	if err != nil {
		return fmt.Errorf("host name: %w", err)
	}
	if have != m.node.Name {
		return fmt.Errorf("waiting for the host name %s, it is %s", m.node.Name, orNone(have))
	}
	return nil
}

func (m *machine) checkAddress(context.Context) error {
	_, err := m.ownInterface()
	return err
}

// ownInterface is the interface that has the node's MAC and its address.
func (m *machine) ownInterface() (Interface, error) {
	list, err := m.host.Interfaces()
	if err != nil {
		return Interface{}, fmt.Errorf("network interfaces: %w", err)
	}
	for _, i := range list {
		if !strings.EqualFold(i.MAC, m.node.MAC) {
			continue
		}
		if slices.Contains(i.Addresses, m.node.Address) {
			return i, nil
		}
		return Interface{}, fmt.Errorf("waiting for the address %s on %s, it has %s", m.node.Address, i.Name, orNone(strings.Join(i.Addresses, " ")))
	}
	return Interface{}, fmt.Errorf("waiting for a network interface with the MAC %s", m.node.MAC)
}

// checkClock waits until certificates are valid. Who sets the clock does not
// matter: a time server, or the machine's own.
func (m *machine) checkClock(context.Context) error {
	valid, err := time.Parse(time.RFC3339, m.node.NotBefore)
	if err != nil {
		return Stop{fmt.Sprintf("%s: notBefore: %v: render it again", node.Path, err)}
	}
	if now := m.host.Now(); now.Before(valid) {
		return fmt.Errorf("waiting for the clock to be set: it says %s, but the cluster was made at %s",
			now.UTC().Format(time.RFC3339), valid.UTC().Format(time.RFC3339))
	}
	return nil
}

func (m *machine) checkContainerd(ctx context.Context) error {
	if !m.host.exists(containerdSocket) {
		return fmt.Errorf("waiting for containerd: no %s", containerdSocket)
	}
	ctx, cancel := context.WithTimeout(ctx, gateLimit)
	defer cancel()
	if _, err := m.host.run(ctx, "ctr", "--address", containerdSocket, "version"); err != nil {
		return fmt.Errorf("waiting for containerd: %w", err)
	}
	return nil
}

// checkImages wants every baked image to be known to containerd, since none is
// ever pulled.
func (m *machine) checkImages(ctx context.Context) error {
	out, err := m.host.run(ctx, "ctr", "--address", containerdSocket, "--namespace", "k8s.io", "images", "ls", "-q")
	if err != nil {
		return fmt.Errorf("container images: %w", err)
	}
	have := strings.Fields(out)
	for _, ref := range m.image.Images {
		if !slices.Contains(have, ref) {
			return Stop{fmt.Sprintf("container image %s is missing from containerd's store: the state partition is not the image's own, or it is damaged; install %s again", ref, m.node.Name)}
		}
	}
	return nil
}

// reason is the bare cause of a failed file operation, without the path that
// the message already has.
func reason(err error) error {
	if p := new(fs.PathError); errors.As(err, &p) {
		return p.Err
	}
	return err
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// hostPort joins the API's address and port.
func hostPort(host string, port int) string { return net.JoinHostPort(host, fmt.Sprint(port)) }
