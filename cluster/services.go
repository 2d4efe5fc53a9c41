package cluster

// What the cluster has beside Kubernetes: a registry, storage, and where images
// are. A part of cluster.yaml, as cluster.go is.

// RegistryKind is the software of the registry role.
type RegistryKind string

// The registry kinds of the design.
const (
	RegistryHarbor       RegistryKind = "harbor"
	RegistryDistribution RegistryKind = "distribution"
)

// Registry is where nodes pull images that are not baked.
type Registry struct {
	// Kind is the software of the nodes of role harbor. Default: harbor, where
	// there are such nodes.
	Kind RegistryKind `yaml:"kind,omitempty"`
	// Host is the registry's DNS name or address, without a scheme, with or
	// without a port. Default: the address of the only node of role harbor.
	Host string `yaml:"host,omitempty"`
	// CA are the certificates, PEM, that the registry's own is signed by, where
	// it is neither ours nor signed by a CA that everybody knows.
	CA string `yaml:"ca,omitempty"`
	// Upstreams are the registries whose images nodes ask the registry for:
	// UPSTREAM/NAME is HOST/UPSTREAM/NAME there. Default: docker.io, ghcr.io,
	// quay.io and registry.k8s.io.
	Upstreams []string `yaml:"upstreams,omitempty"`
	// Images beyond those of the cluster itself that imgbuild seed copies into the
	// registry.
	Images []string `yaml:"images,omitempty"`
	// Seeded puts what imgbuild seed would copy into the images of role harbor
	// themselves: a site without a network has it when the registry is turned on.
	// With kind distribution only.
	Seeded bool `yaml:"seeded,omitempty"`
	// UpstreamFallback lets nodes pull from an upstream itself where the registry
	// lacks an image.
	UpstreamFallback bool `yaml:"upstreamFallback,omitempty"`
	// External is where Harbor keeps what it does not keep on its own nodes. Several
	// nodes with a database, a Redis and an S3 of yours are one Harbor; without, each
	// is one of its own. With kind harbor only.
	External External `yaml:"external,omitempty"`
}

// External are services of yours that Harbor uses. Their passwords are not here
// but with the cluster's secrets: imgbuild secrets --set.
type External struct {
	// Database is a PostgreSQL.
	Database Database `yaml:"database,omitempty"`
	// Redis is one, without a sentinel.
	Redis Redis `yaml:"redis,omitempty"`
	// S3 has the content of the images.
	S3 S3 `yaml:"s3,omitempty"`
	// CA are the certificates, PEM, that those of these services are signed by, where
	// that is no CA that everybody knows.
	CA string `yaml:"ca,omitempty"`
}

// Database is a PostgreSQL.
type Database struct {
	// Host is its DNS name or address, with or without a port. Default port: 5432.
	Host string `yaml:"host,omitempty"`
	// Name of the database, which must be there. Default: registry.
	Name string `yaml:"name,omitempty"`
	// User that owns it.
	User string `yaml:"user,omitempty"`
	// SSLMode is libpq's: disable, require, verify-ca or verify-full.
	// Default: verify-full.
	SSLMode SSLMode `yaml:"sslMode,omitempty"`
}

// SSLMode is how a connection to a PostgreSQL is protected:
// https://www.postgresql.org/docs/current/libpq-ssl.html
type SSLMode string

// Redis is a Redis or a Valkey.
type Redis struct {
	// Host is its DNS name or address, with or without a port. Default port: 6379.
	Host string `yaml:"host,omitempty"`
	// User, where it is not Redis's default one.
	User string `yaml:"user,omitempty"`
	// TLS protects the connection.
	TLS bool `yaml:"tls,omitempty"`
}

// S3 is a bucket.
type S3 struct {
	// Bucket must be there.
	Bucket string `yaml:"bucket,omitempty"`
	// Region such as eu-central-1; for most servers that are not Amazon's any word.
	Region string `yaml:"region,omitempty"`
	// Endpoint is the server's URL. Default: Amazon's in that region.
	Endpoint string `yaml:"endpoint,omitempty"`
	// AccessKey is the public half of the key. Without it the machine's own role is
	// used, where it is one of Amazon's.
	AccessKey string `yaml:"accessKey,omitempty"`
	// Folder in the bucket. Default: its root.
	Folder string `yaml:"folder,omitempty"`
	// Redirect sends those that pull to the bucket itself, which they must reach.
	Redirect bool `yaml:"redirect,omitempty"`
}

// RookImages is where nodes have the images of Rook and Ceph from.
type RookImages string

// The sources of Rook's images.
const (
	// RookBaked has them in the images of role rook.
	RookBaked RookImages = "baked"
	// RookRegistry pulls them from the registry, as any other pod's.
	RookRegistry RookImages = "registry"
)

// Rook is the storage of the cluster: Ceph on the disks of the nodes of role
// rook.
type Rook struct {
	// Images is where the nodes have those of Rook and Ceph from: baked, or
	// registry. Default: baked, where there are nodes of role rook.
	Images RookImages `yaml:"images,omitempty"`
	// Apply lets the first master start Rook's operator and Ceph. Without it
	// imgbuild rook prints what you would apply. Default: false.
	Apply bool `yaml:"apply,omitempty"`
	// DatabasePercent is how much of an HDD's size its database gets on an SSD of
	// its node, 1 to 10: 1 is enough for block devices, 4 for files and objects.
	// Default: 1.
	DatabasePercent int `yaml:"databasePercent,omitempty"`
}

// Images is where machines that start from the network have theirs from.
type Images struct {
	// BaseURL is the folder of a web server, a bucket or a registry that has the
	// compressed images: ROLE.raw.zst is looked for in it. Where {role} or {sha256}
	// is in it, it is the whole address, such as
	// https://registry.example.com/v2/images/blobs/sha256:{sha256}.
	// Default: the server itself, imgbuild serve.
	BaseURL string `yaml:"baseURL,omitempty"`
}
