// Package node is node.json, the single contract between what `imgbuild
// ignition` writes for a machine and what the agent on that machine reads.
//
// It is data and its strict decoding; it imports nothing else of imgbuild, so
// that the agent stays small.
package node

// Version is the only accepted value of the field version.
const Version = "imgbuild/node/v1"

// Where Ignition leaves what a node is given besides kubeadm's own files. Each
// secret among them is in Node.Secrets too.
const (
	// Path is node.json itself.
	Path = "/etc/imgbuild/node.json"
	// CAPath is the cluster's public CA on nodes that run neither masters nor
	// etcd. It is not in kubeadm's folder: kubeadm refuses to join a worker that
	// has it there.
	CAPath = "/etc/imgbuild/ca.crt"
	// TokenPath is the bootstrap token of a node that joins with one:
	// "id.secret" and a line feed.
	TokenPath = "/etc/imgbuild/token"
	// VRRPPath is the password of the balancers among themselves: one line of 8
	// letters, which is all that VRRP takes.
	VRRPPath = "/etc/imgbuild/vrrp"
	// EtcdPKI is the folder of ca.crt and of the pairs server and peer of a node
	// of role etcd.
	EtcdPKI = "/etc/etcd/pki"
	// RegistryDir is the folder of what a node of role harbor has for its registry:
	// the pair tls, and of the kind distribution password.sha256, the hex SHA-256 of
	// its administrator's password, and upload-secret, which uploads are signed with;
	// of the kind harbor admin-password, harbor-secret, which all other secrets
	// are made from, 64 hex digits, and token.key, RSA. What is no PEM is a line.
	RegistryDir = "/etc/imgbuild/registry"
	// Where Harbor uses services elsewhere: their passwords, one line each, and the CA
	// of their certificates, where they have one of their own.
	DatabasePasswordPath = RegistryDir + "/database-password"
	RedisPasswordPath    = RegistryDir + "/redis-password"
	S3KeyPath            = RegistryDir + "/s3-secret-key"
	ExternalCAPath       = RegistryDir + "/external-ca.crt"
	// StorageDir is the folder of the storage that the init master makes of this
	// cluster's nodes: YAML files, in the order of their names.
	StorageDir = "/etc/imgbuild/storage"
	// ImageStorageDir holds Rook's own objects, where the image has them: they come
	// before those of StorageDir.
	ImageStorageDir = "/usr/share/imgbuild/storage"
	// RegistryCAPath is the CA of a registry that is not ours, where it has one of its
	// own.
	RegistryCAPath = "/etc/imgbuild/registry-ca.crt"
	// ClaimPath is where a node that claims its secrets has whom to ask, see Claim.
	ClaimPath = "/etc/imgbuild/claim.json"
	// ReportPath is what a node that has claimed its secrets reports with: one line.
	ReportPath = "/etc/imgbuild/report-token"
)

// Node is the identity of one machine and what it needs to join its cluster.
// It holds no secret: those are files of their own, see Secrets.
type Node struct {
	Version string `json:"version"`
	Cluster string `json:"cluster"`
	Name    string `json:"name"`
	Role    string `json:"role"`
	// Address is the node's own, without prefix length.
	Address string `json:"address"`
	// MAC of the interface that carries Address.
	MAC string `json:"mac"`
	// InitMaster is true on exactly one node: the one that runs kubeadm init.
	InitMaster bool       `json:"initMaster"`
	Topology   string     `json:"topology"`
	Endpoint   Endpoint   `json:"endpoint"`
	Kubernetes Kubernetes `json:"kubernetes"`
	// Masters are all nodes of role master, the init master first.
	Masters []Peer `json:"masters"`
	// Etcd are the nodes of role etcd, in the cluster's order; none where masters
	// run etcd themselves.
	Etcd []Peer `json:"etcd,omitempty"`
	// Joining are the names of the nodes that join with a token of their own:
	// every Kubernetes node that is no master. Only masters are told.
	Joining []string `json:"joining,omitempty"`
	// Balancer is set where this node balances the API.
	Balancer *Balancer `json:"balancer,omitempty"`
	// Registry is set on nodes of role harbor: what they serve.
	Registry *Registry `json:"registry,omitempty"`
	// Disks are the raw ones that a node of role rook gives to Ceph.
	Disks []Disk `json:"disks,omitempty"`
	// DataDisk is where a node of role harbor keeps images; without it they are on
	// state.
	DataDisk *Disk `json:"dataDisk,omitempty"`
	// PullsFrom is the registry, host and port, that this node cannot do its work
	// without, where its images are not baked.
	PullsFrom string `json:"pullsFrom,omitempty"`
	// Taints of the Kubernetes node, besides kubeadm's own.
	Taints []Taint `json:"taints,omitempty"`
	// CAHash is kubeadm's discovery pin of the cluster CA: "sha256:<hex>" of
	// its SubjectPublicKeyInfo.
	CAHash string `json:"caHash"`
	// NotBefore is when the cluster's CA was made, RFC 3339: a clock that is
	// behind it is wrong. The certificates themselves are valid a day longer.
	NotBefore string `json:"notBefore"`
	// Secrets are the absolute paths that Ignition must have left, each
	// non-empty. The agent refuses to start where one is missing.
	Secrets []string          `json:"secrets"`
	Labels  map[string]string `json:"labels,omitempty"`
	// Timeouts in Go's duration format.
	Timeouts Timeouts `json:"timeouts"`
}

// Endpoint is where the API of the whole cluster is reached.
type Endpoint struct {
	Host string `json:"host"`
	Port int    `json:"port"`
}

// Peer is another node, or this one among its like.
type Peer struct {
	Name    string `json:"name"`
	Address string `json:"address"`
}

// Balancer is what haproxy and keepalived of a node are told. The servers are
// the masters.
type Balancer struct {
	// Port that haproxy listens on for the API.
	Port int `json:"port"`
	// VIP is the address that keepalived moves, PrefixLength its subnet's.
	VIP          string `json:"vip"`
	PrefixLength int    `json:"prefixLength"`
	// RouterID is VRRP's virtual_router_id, 1 to 255.
	RouterID int `json:"routerID"`
	// Priority is VRRP's, 1 to 254; the highest that is alive has the VIP.
	Priority int `json:"priority"`
	// Peers are the addresses of the other balancers.
	Peers []string `json:"peers"`
}

// Registry is what a node of role harbor serves.
type Registry struct {
	// Kind of software: "distribution" or "harbor".
	Kind string `json:"kind"`
	// Host is what images are called by: a name or an address, with or without a
	// port. It may lead to several nodes.
	Host string `json:"host"`
	// Port that this node listens on.
	Port int `json:"port"`
	// Database, Redis and S3 are services elsewhere that Harbor uses, if any; their
	// passwords are in RegistryDir.
	Database *Database `json:"database,omitempty"`
	Redis    *Redis    `json:"redis,omitempty"`
	S3       *S3       `json:"s3,omitempty"`
}

// Database is a PostgreSQL; SSLMode is libpq's.
type Database struct {
	Host    string `json:"host"`
	Port    int    `json:"port"`
	Name    string `json:"name"`
	User    string `json:"user"`
	SSLMode string `json:"sslMode"`
}

// Redis is one without a sentinel.
type Redis struct {
	Host string `json:"host"`
	Port int    `json:"port"`
	User string `json:"user,omitempty"`
	TLS  bool   `json:"tls,omitempty"`
}

// S3 is a bucket.
type S3 struct {
	Bucket string `json:"bucket"`
	Region string `json:"region"`
	// Endpoint is a URL; "" is Amazon's.
	Endpoint string `json:"endpoint,omitempty"`
	// AccessKey is "" where the machine's own role is used.
	AccessKey string `json:"accessKey,omitempty"`
	Folder    string `json:"folder,omitempty"`
	// Redirect sends those that pull to the bucket itself.
	Redirect bool `json:"redirect,omitempty"`
}

// Disk is a raw disk that nothing of ours ever writes to.
type Disk struct {
	// Path below /dev that stays the same from boot to boot.
	Path string `json:"path"`
	// Size in bytes that it has at least.
	Size int64 `json:"size"`
}

// Taint keeps pods off the node that do not tolerate it.
type Taint struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Effect string `json:"effect"`
}

// Kubernetes is what kubeadm is told.
type Kubernetes struct {
	Version       string   `json:"version"`
	PodSubnet     string   `json:"podSubnet"`
	ServiceSubnet string   `json:"serviceSubnet"`
	DNSDomain     string   `json:"dnsDomain"`
	CNI           string   `json:"cni"`
	CertSANs      []string `json:"certSANs,omitempty"`
	MasterTaint   bool     `json:"masterTaint"`
}

// Timeouts of one kubeadm attempt, and how patient nodes are with each other.
type Timeouts struct {
	API  string `json:"api"`
	Etcd string `json:"etcd"`
	// Heartbeat is etcd's; "" is its default, 100ms.
	Heartbeat string `json:"heartbeat,omitempty"`
}

// ImagePath is where an image says what it is.
const ImagePath = "/usr/lib/imgbuild/image.json"

// Image is what the image says of itself: written at build time, compared with
// node.json by the agent's gates.
type Image struct {
	Role string `json:"role"`
	// Plan is the hash of the plan, hex SHA-256.
	Plan string `json:"plan"`
	Base string `json:"base"`
	// Components maps a component's name to its version.
	Components map[string]string `json:"components"`
	// Images are the references of the baked container images.
	Images []string `json:"images"`
}

// Claim is claim.json: where a node has its secrets from that are not in its
// Ignition config.
type Claim struct {
	// Server is the address of the server, https://HOST:PORT.
	Server string `json:"server"`
	// CA is the pin of the server's CA, as Node.CAHash.
	CA string `json:"ca"`
	// Nonce is what the node shows. It has been on the wire.
	Nonce string `json:"nonce"`
}

// DecodeClaim reads claim.json strictly.
func DecodeClaim(data []byte) (Claim, error) {
	var c Claim
	err := decode("claim.json", data, &c)
	return c, err
}
