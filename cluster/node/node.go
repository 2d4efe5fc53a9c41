// Package node is node.json, the single contract between what `imgbuild
// ignition` writes for a machine and what the agent on that machine reads.
//
// It is data and its strict decoding; it imports nothing else of imgbuild, so
// that the agent stays small.
package node

// Version is the only accepted value of the field version.
const Version = "imgbuild/node/v1"

// Path is where Ignition leaves the file on a node.
const Path = "/etc/imgbuild/node.json"

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

// Timeouts of one kubeadm attempt.
type Timeouts struct {
	API  string `json:"api"`
	Etcd string `json:"etcd"`
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
