package firstboot

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

const (
	etcKubernetes = "/etc/kubernetes"
	pki           = etcKubernetes + "/pki"
	manifests     = etcKubernetes + "/manifests"
	adminConf     = etcKubernetes + "/admin.conf"
	superAdmin    = etcKubernetes + "/super-admin.conf"
	kubeletConf   = etcKubernetes + "/kubelet.conf"
	bootstrapConf = etcKubernetes + "/bootstrap-kubelet.conf"
	scheduler     = etcKubernetes + "/scheduler.conf"
	kubeletConfig = "/var/lib/kubelet/config.yaml"
	kubeletFlags  = "/var/lib/kubelet/kubeadm-flags.env"
	etcdData      = "/var/lib/etcd"
	etcdLog       = etcdData + "/member/wal"
	etcdClient    = pki + "/apiserver-etcd-client"
)

// fault is a file of kubeadm's that is missing or useless. kubeadm writes
// without syncing, so that a power cut leaves empty files and halves of them.
type fault struct {
	path, reason string
}

func (f fault) String() string { return f.path + " " + f.reason }

// faults lists what is wrong with what kubeadm leaves on a node; none means
// that a kubelet can start from it.
func (m *machine) faults() []fault {
	var found []fault
	note := func(path string, err error) {
		if err != nil {
			found = append(found, fault{path, reasonOf(err)})
		}
	}
	if m.node.Role == roleMaster {
		m.faultyPairs(note)
		m.faultyKubeconfigs(note)
		for _, name := range staticPods(m.node.Topology) {
			path := manifests + "/" + name + ".yaml"
			note(path, m.checkManifest(path, name))
		}
	} else {
		m.faultyWorker(note)
	}
	note(kubeletConfig, m.checkKind(kubeletConfig, "KubeletConfiguration"))
	note(kubeletFlags, m.checkHolds(kubeletFlags, "KUBELET_KUBEADM_ARGS="))
	return found
}

// staticPods are those of a master.
func staticPods(topology string) []string {
	pods := []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler"}
	if topology == "external-etcd" {
		return pods
	}
	return append([]string{"etcd"}, pods...)
}

// faultyPairs checks the certificates that kubeadm issues, by their CAs. Where
// etcd is elsewhere its CA's only leaf here was delivered.
func (m *machine) faultyPairs(note func(string, error)) {
	ofEtcd := []string{"apiserver-etcd-client"}
	if m.stackedEtcd() {
		ofEtcd = append(ofEtcd, "etcd/server", "etcd/peer", "etcd/healthcheck-client")
	}
	for _, issuer := range []struct {
		name   string
		leaves []string
	}{
		{"ca", []string{"apiserver", "apiserver-kubelet-client"}},
		{"front-proxy-ca", []string{"front-proxy-client"}},
		{"etcd/ca", ofEtcd},
	} {
		path := pki + "/" + issuer.name + ".crt"
		data, err := m.host.read(path)
		var ca *x509.Certificate
		if err == nil {
			ca, err = parseCertificate(data)
		}
		note(path, err)
		if err != nil {
			continue // nothing can be said of its leaves
		}
		for _, leaf := range issuer.leaves {
			m.faultyPair(pki+"/"+leaf, ca, note)
		}
	}
}

// faultyPair faults a certificate and its key together: kubeadm refuses one half.
func (m *machine) faultyPair(base string, ca *x509.Certificate, note func(string, error)) {
	certificate, err := m.host.read(base + ".crt")
	var key []byte
	if err == nil {
		key, err = m.host.read(base + ".key")
	}
	if err == nil {
		_, err = checkPair(certificate, key, ca)
	}
	note(base+".crt", err)
	note(base+".key", err)
}

func (m *machine) faultyKubeconfigs(note func(string, error)) {
	ca, err := m.host.readCertificate(pki + "/ca.crt")
	if err != nil {
		return // noted with the pairs
	}
	for _, path := range []string{adminConf, kubeletConf, etcKubernetes + "/controller-manager.conf", scheduler} {
		_, err := m.host.readKubeconfig(path, ca)
		note(path, err)
	}
	// super-admin.conf is there only while init is not finished, see
	// initDone. So scheduler.conf, which kubeadm writes after it, goes first:
	// a power cut between the two must not make init look finished.
	if _, err := m.host.readKubeconfig(superAdmin, ca); err != nil && m.host.exists(superAdmin) {
		note(scheduler, errors.New("must be as old as super-admin.conf"))
		note(superAdmin, err)
	}
}

func (m *machine) checkManifest(path, name string) error {
	var pod struct {
		Kind     string `json:"kind"`
		Metadata struct {
			Name string `json:"name"`
		} `json:"metadata"`
		Spec struct {
			Containers []object `json:"containers"`
		} `json:"spec"`
	}
	if err := m.readYAML(path, &pod); err != nil {
		return err
	}
	if pod.Kind != "Pod" || pod.Metadata.Name != name || len(pod.Spec.Containers) == 0 {
		return fmt.Errorf("is not the static pod %s", name)
	}
	return nil
}

func (m *machine) checkKind(path, kind string) error {
	var file struct {
		Kind string `json:"kind"`
	}
	if err := m.readYAML(path, &file); err != nil {
		return err
	}
	if file.Kind != kind {
		return fmt.Errorf("is not a %s", kind)
	}
	return nil
}

func (m *machine) readYAML(path string, into any) error {
	data, err := m.host.read(path)
	if err != nil {
		return err
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return errors.New("is empty")
	}
	if err := yaml.Unmarshal(data, into); err != nil {
		return errors.New("is not YAML")
	}
	return nil
}

func (m *machine) checkHolds(path, text string) error {
	data, err := m.host.read(path)
	if err == nil && !bytes.Contains(data, []byte(text)) {
		err = fmt.Errorf("has no %s", text)
	}
	return err
}

// repair removes the faulty files that kubeadm makes again. It never touches
// what Ignition delivered, a CA, the service accounts' key, or etcd's data.
func (m *machine) repair(faults []fault) error {
	for _, f := range faults {
		if !m.host.exists(f.path) || slices.Contains(m.node.Secrets, f.path) {
			continue
		}
		// On other nodes the CA in kubeadm's folder is kubeadm's copy.
		if m.node.Role == roleMaster && isCA(f.path) {
			continue
		}
		if err := os.Remove(m.host.path(f.path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove %s, which %s: %w", f.path, f.reason, reason(err))
		}
		m.console.log("imgbuild: removed " + f.String())
		m.host.Sync()
	}
	return nil
}

// isCA names the files whose loss would need a new cluster.
func isCA(path string) bool {
	switch strings.TrimPrefix(path, pki+"/") {
	case "ca.crt", "ca.key", "front-proxy-ca.crt", "front-proxy-ca.key", "etcd/ca.crt", "etcd/ca.key", "sa.key", "sa.pub":
		return true
	}
	return false
}

func reasonOf(err error) string {
	if errors.Is(err, fs.ErrNotExist) && errors.As(err, new(*fs.PathError)) {
		return "is missing"
	}
	return reason(err).Error()
}
