package images

import (
	"fmt"
	"slices"
	"strings"

	"imgbuild/builder/cache"
)

// composeVersion changes whenever the same inputs would give another image.
const composeVersion = 1

// Spec says what one container image is made of.
type Spec struct {
	// Ref is the upstream name with tag.
	Ref string `json:"ref"`
	// Files come from components, in any order.
	Files []SpecFile `json:"files"`
	// Programs are absolute paths in the base tree. Each is taken with the
	// shared libraries it needs.
	Programs []string `json:"programs,omitempty"`
	// Bare leaves out accounts, CA certificates and /tmp: what is in the image
	// is Files and Programs only.
	Bare bool `json:"bare,omitempty"`
	// Entrypoint, User and WorkDir are the image configuration's; empty fields
	// are left out. Spec: opencontainers/image-spec, config.md.
	Entrypoint []string `json:"entrypoint,omitempty"`
	User       string   `json:"user,omitempty"`
	WorkDir    string   `json:"workDir,omitempty"`
}

// SpecFile is one file of a component and its place in the image.
type SpecFile struct {
	// From is "COMPONENT/FILE".
	From string `json:"from"`
	// To is absolute.
	To string `json:"to"`
}

// component is the name of the component that the file comes from.
func (f SpecFile) component() string {
	name, _, _ := strings.Cut(f.From, "/")
	return name
}

// All lists the images that imgbuild composes, sorted by Ref.
func All() []Spec {
	specs := []Spec{
		kube("kube-apiserver"),
		kube("kube-controller-manager"),
		kube("kube-scheduler"),
		// In nftables mode kube-proxy runs nft and nothing else: conntrack
		// entries go over netlink, and the clean-up of the other modes stops
		// quietly where iptables and modprobe are missing.
		kube("kube-proxy", "/usr/sbin/nft"),
		{
			Ref: "registry.k8s.io/etcd:3.6.8-0",
			Files: []SpecFile{
				{"etcd/etcd", "/usr/local/bin/etcd"},
				{"etcd/etcdctl", "/usr/local/bin/etcdctl"},
				{"etcd/etcdutl", "/usr/local/bin/etcdutl"},
			},
		},
		{
			// Upstream gives the file a capability for port 53; containerd's
			// enable_unprivileged_ports makes that unnecessary.
			Ref:        "registry.k8s.io/coredns/coredns:v1.14.2",
			Files:      []SpecFile{{"coredns/coredns", "/coredns"}},
			Entrypoint: []string{"/coredns"},
			User:       "65532:65532",
			WorkDir:    "/",
		},
		{
			Ref:        "registry.k8s.io/pause:3.10.2",
			Files:      []SpecFile{{"pause/pause", "/pause"}},
			Bare:       true,
			Entrypoint: []string{"/pause"},
			User:       "65535:65535",
		},
		{
			Ref:   "ghcr.io/flannel-io/flannel:v0.28.4",
			Files: []SpecFile{{"flannel/flanneld", "/opt/bin/flanneld"}},
			// With EnableNFTables flanneld still cleans up after its iptables
			// mode and exits where iptables or ip6tables is missing (main.go,
			// "Cleaning-up unused traffic manager rules"). cp is what the init
			// container of the upstream manifest runs in this image.
			Programs:   []string{"/usr/bin/cp", "/usr/sbin/ip6tables", "/usr/sbin/iptables", "/usr/sbin/nft"},
			Entrypoint: []string{"/opt/bin/flanneld"},
		},
	}
	slices.SortFunc(specs, func(a, b Spec) int { return strings.Compare(a.Ref, b.Ref) })
	return specs
}

// kube is the image of one Kubernetes program. It has no entrypoint: kubeadm's
// manifests always name the command. Upstream's is a log runner.
func kube(name string, programs ...string) Spec {
	return Spec{
		Ref:      "registry.k8s.io/" + name + ":v1.36.3",
		Files:    []SpecFile{{"kubernetes/" + name, "/usr/local/bin/" + name}},
		Programs: programs,
	}
}

// find returns the Spec of a reference.
func find(ref string) (Spec, error) {
	var known []string
	for _, s := range All() {
		if s.Ref == ref {
			return s, nil
		}
		known = append(known, s.Ref)
	}
	return Spec{}, fmt.Errorf("image %s: not one that is composed; known are %s", ref, strings.Join(known, ", "))
}

// Components names the components that the image of ref needs, sorted.
func Components(ref string) ([]string, error) {
	s, err := find(ref)
	if err != nil {
		return nil, err
	}
	return s.components(), nil
}

func (s Spec) components() []string {
	var names []string
	for _, f := range s.Files {
		names = append(names, f.component())
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// usesTree reports whether something of the base tree is in the image.
func (s Spec) usesTree() bool { return !s.Bare || len(s.Programs) > 0 }

// Resolve pins the image of ref. inputs maps a component's name to its inputs
// hash; base changes with the packages of the base tree. Images that take
// nothing from the tree do not depend on base.
func Resolve(ref string, inputs map[string]string, base string) (Image, error) {
	s, err := find(ref)
	if err != nil {
		return Image{}, err
	}
	used := map[string]string{}
	for _, c := range s.components() {
		if inputs[c] == "" {
			return Image{}, fmt.Errorf("image %s: needs component %s, which is not among the resolved ones", ref, c)
		}
		used[c] = inputs[c]
	}
	if !s.usesTree() {
		base = ""
	}
	return Image{Ref: ref, Inputs: cache.Key(composeVersion, s, used, base)}, nil
}
