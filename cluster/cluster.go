// Package cluster is the user's cluster.yaml: its types, defaults, loading,
// validation and JSON Schema.
//
// It is data only. It reads one file, imports nothing else of imgbuild and
// decides nothing about images: what a role contains is the business of
// package roles.
package cluster

// APIVersion is the only accepted value of the field apiVersion.
const APIVersion = "imgbuild/v1"

// Cluster is a whole cluster.yaml.
type Cluster struct {
	// APIVersion is always "imgbuild/v1".
	APIVersion string `yaml:"apiVersion"`
	// Name of the cluster: a DNS label. It prefixes nothing on the nodes, but
	// appears in certificates, kubeconfig contexts and the lab's directory.
	Name string `yaml:"name"`
	// Topology is how etcd and the masters relate.
	Topology Topology `yaml:"topology"`
	// Size selects the minimum node sizes that validation demands.
	// Default: production.
	Size Size `yaml:"size,omitempty"`
	// Base is the distribution release that images are made from, for every
	// role that has no entry of its own under roles. Default: debian-13.
	Base string `yaml:"base,omitempty"`
	// Mirrors maps a base to the mirror its packages come from. A base without
	// an entry uses the distribution's own mirrors.
	Mirrors map[string]string `yaml:"mirrors,omitempty"`
	// Kubernetes is what the control plane is told.
	Kubernetes Kubernetes `yaml:"kubernetes,omitempty"`
	// LoadBalancer says how the API is reached by more than one master.
	LoadBalancer LoadBalancer `yaml:"loadBalancer,omitempty"`
	// Network is what all nodes share.
	Network Network `yaml:"network"`
	// Registry is where nodes pull images that are not baked.
	Registry Registry `yaml:"registry,omitempty"`
	// Rook is the storage of the cluster, on nodes of role rook.
	Rook Rook `yaml:"rook,omitempty"`
	// Images is where machines that start from the network have theirs from.
	Images Images `yaml:"images,omitempty"`
	// SSH lets people in; without keys sshd stays off.
	SSH SSH `yaml:"ssh,omitempty"`
	// Timeouts of the first boot.
	Timeouts Timeouts `yaml:"timeouts,omitempty"`
	// Roles changes what an image of a role is made from.
	Roles map[Role]RoleOptions `yaml:"roles,omitempty"`
	// Nodes are the machines. The first master starts the cluster.
	Nodes []Node `yaml:"nodes"`
	// Lab is how the cluster runs in local QEMU machines.
	Lab Lab `yaml:"lab,omitempty"`
}

// Topology is how etcd and the masters relate.
type Topology string

// The topologies of the design.
const (
	// Single is one master and nothing else that it could fail over to.
	Single Topology = "single"
	// Stacked runs an etcd member on every master.
	Stacked Topology = "stacked"
	// ExternalEtcd runs etcd on machines of the role etcd.
	ExternalEtcd Topology = "external-etcd"
)

// Role names a folder under roles/.
type Role string

// The roles of the design. Users may add their own folders; cluster.yaml
// accepts the names below only.
const (
	RoleLB     Role = "lb"
	RoleHarbor Role = "harbor"
	RoleMaster Role = "master"
	RoleEtcd   Role = "etcd"
	RoleWorker Role = "worker"
	RoleRook   Role = "rook"
)

// Size is a preset of minimum node sizes.
type Size string

// The sizes of the design.
const (
	SizeTest       Size = "test"
	SizeProduction Size = "production"
)

// Kubernetes is what the control plane is told.
type Kubernetes struct {
	// Version is a full version, for example v1.36.3.
	Version string `yaml:"version,omitempty"`
	// PodSubnet is an IPv4 CIDR that overlaps neither serviceSubnet nor
	// network.subnet; every node gets a /24 of it. Default: 10.244.0.0/16.
	PodSubnet string `yaml:"podSubnet,omitempty"`
	// ServiceSubnet is an IPv4 CIDR that overlaps neither podSubnet nor
	// network.subnet. Default: 10.96.0.0/12.
	ServiceSubnet string `yaml:"serviceSubnet,omitempty"`
	// DNSDomain is what the names of Services end in. Default: cluster.local.
	DNSDomain string `yaml:"dnsDomain,omitempty"`
	// CNI is the pod network: "flannel", or "none" to bring one's own.
	// Default: flannel.
	CNI string `yaml:"cni,omitempty"`
	// CertSANs are extra names or addresses of the API server's certificate.
	CertSANs []string `yaml:"certSANs,omitempty"`
	// MasterTaint keeps ordinary pods off the masters. Default: true, but
	// false for the topology single.
	MasterTaint *bool `yaml:"masterTaint,omitempty"`
}

// LoadBalancerMode is who moves the API's address.
type LoadBalancerMode string

// The load-balancer modes of the design.
const (
	// LBKeepalived: nodes of role lb (or masters, with coLocated) hold a VIP.
	LBKeepalived LoadBalancerMode = "keepalived"
	// LBExternal: something that is not ours, for example a cloud's.
	LBExternal LoadBalancerMode = "external"
	// LBNone: the endpoint is the only master.
	LBNone LoadBalancerMode = "none"
)

// LoadBalancer says how the API is reached.
type LoadBalancer struct {
	// Mode is who moves the API's address. Default: none for the topology
	// single, else keepalived.
	Mode LoadBalancerMode `yaml:"mode,omitempty"`
	// Address is the VIP, which is a free address in network.subnet, or the
	// external balancer's address or name.
	Address string `yaml:"address,omitempty"`
	// Port of the API at Address. Default 6443, or 8443 with coLocated.
	Port int `yaml:"port,omitempty"`
	// VirtualRouterID is keepalived's, 1-255, unique on the segment. Default: 51.
	VirtualRouterID int `yaml:"virtualRouterID,omitempty"`
	// CoLocated runs haproxy and keepalived on the masters: test sizes only.
	CoLocated bool `yaml:"coLocated,omitempty"`
}

// Network is what all nodes share.
type Network struct {
	// Subnet is the nodes' IPv4 CIDR.
	Subnet string `yaml:"subnet"`
	// Gateway is the router's address in subnet; none is allowed (air gap).
	Gateway string `yaml:"gateway,omitempty"`
	// DNS are resolvers' addresses; none is allowed (air gap).
	DNS []string `yaml:"dns,omitempty"`
	// NTP are time servers' names or addresses.
	NTP []string `yaml:"ntp,omitempty"`
}

// SSH lets people in; without keys sshd stays off.
type SSH struct {
	// AuthorizedKeys are public keys, one line of a *.pub file each.
	AuthorizedKeys []string `yaml:"authorizedKeys,omitempty"`
}

// Timeouts say how patient nodes are with each other. Attempts themselves are
// unlimited.
type Timeouts struct {
	// API is how long one kubeadm attempt waits for a control plane. Default 10m.
	API Duration `yaml:"api,omitempty"`
	// Etcd is how long one kubeadm attempt waits for etcd. Default 10m.
	Etcd Duration `yaml:"etcd,omitempty"`
	// Heartbeat is how often etcd's leader says that it lives; after ten times as
	// long without a word the others elect another. Default 100ms, which is for
	// machines that are never busy for a second. Where it is more, leases of the
	// control plane and checks of the balancers are longer, too.
	Heartbeat Duration `yaml:"heartbeat,omitempty"`
}

// RoleOptions changes what an image of a role is made from.
type RoleOptions struct {
	// Base of this role's image, where it is not the cluster's.
	Base string `yaml:"base,omitempty"`
	// Packages are extra packages of the base.
	Packages []string `yaml:"packages,omitempty"`
}

// Node is one machine.
type Node struct {
	// Name is the host name: a DNS label, unique.
	Name string `yaml:"name"`
	// Role is what the machine does in the cluster.
	Role Role `yaml:"role"`
	// MAC of the interface that carries Address, unique.
	MAC string `yaml:"mac"`
	// Address in network.subnet, without prefix length, unique.
	Address string `yaml:"address"`
	// CPUs is how many the machine has; checked against size where declared.
	CPUs int `yaml:"cpus,omitempty"`
	// Memory that the machine has; checked against size where declared.
	Memory Bytes `yaml:"memory,omitempty"`
	// Disk is the size of the disk that the image is on; checked against size
	// where declared.
	Disk Bytes `yaml:"disk,omitempty"`
	// InstallDisk is the disk that a machine which starts from the network is
	// installed to. Default: its only disk, besides disks and dataDisk.
	InstallDisk InstallDisk `yaml:"installDisk,omitempty"`
	// Wipe lets the installation overwrite what is on the disk. Without it a disk
	// that holds anything is left alone, and the machine says what it holds.
	Wipe bool `yaml:"wipe,omitempty"`
	// DataDisk is where a node of role harbor keeps images, instead of on its system
	// disk. One that is empty is formatted, one that is ours is used, and any other
	// is left alone: the node stops.
	DataDisk DataDisk `yaml:"dataDisk,omitempty"`
	// Links are the speeds of its network interfaces in Gbit/s, such as [10, 10];
	// checked for nodes of role rook where declared.
	Links []int `yaml:"links,omitempty"`
	// Disks are the raw ones that Ceph may have, of nodes of role rook only. What is
	// on a disk is never removed: one that is not empty is left alone.
	Disks []Disk `yaml:"disks,omitempty"`
	// Labels of the Kubernetes node.
	Labels map[string]string `yaml:"labels,omitempty"`
}

// InstallDisk names one disk of a machine: by its path, by its serial number, or by
// what only its size is.
type InstallDisk struct {
	// Path that stays the same, such as /dev/disk/by-id/….
	Path string `yaml:"path,omitempty"`
	// Serial is the number that the disk itself tells.
	Serial string `yaml:"serial,omitempty"`
	// MinSize and MaxSize are the bounds of its size. Exactly one disk of the
	// machine must be within them.
	MinSize Bytes `yaml:"minSize,omitempty"`
	// MaxSize is the upper bound; none is none.
	MaxSize Bytes `yaml:"maxSize,omitempty"`
}

// DataDisk is a further disk of a node, which imgbuild formats.
type DataDisk struct {
	// Path that stays the same, such as /dev/disk/by-id/….
	Path string `yaml:"path"`
	// Size that it is sold with.
	Size Bytes `yaml:"size"`
}

// DiskKind is what a disk is made of.
type DiskKind string

// The kinds of disks.
const (
	SSD DiskKind = "ssd"
	HDD DiskKind = "hdd"
)

// Disk is a raw disk of a node.
type Disk struct {
	// Path that stays the same, such as /dev/disk/by-id/….
	Path string `yaml:"path"`
	// Kind is ssd or hdd. Where a node has both, its SSDs hold the databases of
	// its HDDs, of at most 6 each.
	Kind DiskKind `yaml:"kind"`
	// Size that it is sold with, at least 10GB; at least 300GB with size
	// production.
	Size Bytes `yaml:"size"`
}

// Lab is how the cluster runs in local QEMU machines.
type Lab struct {
	// CPUs of each machine that declares none. Default: 2.
	CPUs int `yaml:"cpus,omitempty"`
	// Memory of each machine that declares none. Default: 4GiB.
	Memory Bytes `yaml:"memory,omitempty"`
	// Disk of each machine that declares none. Default: 20GiB.
	Disk Bytes `yaml:"disk,omitempty"`
}
