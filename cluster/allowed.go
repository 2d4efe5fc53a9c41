package cluster

// The lists below are what cluster.yaml accepts. Validation and the JSON
// Schema share them.

// Topologies are the accepted values of topology.
func Topologies() []Topology { return []Topology{Single, Stacked, ExternalEtcd} }

// Roles are the accepted roles of a node.
func Roles() []Role {
	return []Role{RoleLB, RoleHarbor, RoleMaster, RoleEtcd, RoleWorker, RoleRook}
}

// Sizes are the accepted values of size.
func Sizes() []Size { return []Size{SizeTest, SizeProduction} }

// Bases are the accepted distribution releases.
func Bases() []string {
	return []string{"debian-13", "debian-12", "ubuntu-24.04", "ubuntu-22.04", "rocky-9", "rocky-10"}
}

// KubernetesVersions are the releases that this imgbuild has components for.
func KubernetesVersions() []string { return []string{"v1.36.3"} }

// CNIs are the accepted pod networks.
func CNIs() []string { return []string{"flannel", "none"} }

// LoadBalancerModes are the accepted values of loadBalancer.mode.
func LoadBalancerModes() []LoadBalancerMode {
	return []LoadBalancerMode{LBKeepalived, LBExternal, LBNone}
}

// defaultUpstreams are the registries that most images come from.
func defaultUpstreams() []string {
	return []string{"docker.io", "ghcr.io", "quay.io", "registry.k8s.io"}
}

// RegistryKinds are the accepted values of registry.kind.
func RegistryKinds() []RegistryKind { return []RegistryKind{RegistryHarbor, RegistryDistribution} }

// RookImageSources are the accepted values of rook.images.
func RookImageSources() []RookImages { return []RookImages{RookBaked, RookRegistry} }

// DiskKinds are the accepted kinds of a disk.
func DiskKinds() []DiskKind { return []DiskKind{SSD, HDD} }

// SSLModes are the accepted values of registry.external.database.sslMode: those
// that Harbor knows.
func SSLModes() []SSLMode { return []SSLMode{"disable", "require", "verify-ca", "verify-full"} }
