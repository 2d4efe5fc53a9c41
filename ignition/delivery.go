package ignition

import (
	"path"
	"slices"
	"strings"

	"imgbuild/cluster"
	"imgbuild/cluster/node"
)

// pkiDir is where kubeadm looks for the certificates that it need not make.
const pkiDir = "/etc/kubernetes/pki"

// secretFiles are the secrets that a node needs, and no others.
func secretFiles(c *cluster.Cluster, n cluster.Node, s Secrets) ([]butaneFile, error) {
	files, err := roleFiles(c, n, s)
	if err != nil || balancer(c, n) == nil {
		return files, err
	}
	password, err := vrrpPassword(s)
	if err != nil {
		return nil, err
	}
	return append(files, private(node.VRRPPath, password+"\n")), nil
}

func roleFiles(c *cluster.Cluster, n cluster.Node, s Secrets) ([]butaneFile, error) {
	switch {
	case n.Role == cluster.RoleMaster:
		return masterFiles(c.Topology, s), nil
	case n.Role == cluster.RoleEtcd:
		return etcdFiles(n, s)
	case n.Role == cluster.RoleHarbor:
		return registryFiles(c, n, s)
	case Joins(n.Role):
		return joinFiles(c.Name, n, s)
	}
	// The others speak to the API servers, or present what its CA has signed.
	return []butaneFile{public(node.CAPath, s.CA.Certificate)}, nil
}

func masterFiles(topology cluster.Topology, s Secrets) []butaneFile {
	files := slices.Concat(
		pair(pkiDir+"/ca", s.CA),
		pair(pkiDir+"/front-proxy-ca", s.FrontProxyCA),
		[]butaneFile{
			private(pkiDir+"/sa.key", string(s.ServiceAccount.Key)),
			private(pkiDir+"/sa.pub", s.ServiceAccount.Public),
		},
	)
	if topology == cluster.ExternalEtcd {
		// A client of etcd only: whoever breaks into a master cannot make
		// members.
		files = append(files, private(pkiDir+"/etcd/ca.crt", s.EtcdCA.Certificate))
		return append(files, pair(pkiDir+"/apiserver-etcd-client", s.EtcdClient)...)
	}
	return append(files, pair(pkiDir+"/etcd/ca", s.EtcdCA)...)
}

func etcdFiles(n cluster.Node, s Secrets) ([]butaneFile, error) {
	files := []butaneFile{private(node.EtcdPKI+"/ca.crt", s.EtcdCA.Certificate)}
	for _, use := range []string{"server", "peer"} {
		member, err := etcdMember(s, use, n.Name, n.Address)
		if err != nil {
			return nil, err
		}
		files = append(files, pair(node.EtcdPKI+"/"+use, member)...)
	}
	return files, nil
}

// joinFiles are those of a node that joins as a worker does. The CA's
// certificate is public, but a token is only good together with it.
func joinFiles(name string, n cluster.Node, s Secrets) ([]butaneFile, error) {
	token, err := node.Token(string(s.CA.Key), name, n.Name)
	if err != nil {
		return nil, err
	}
	return []butaneFile{public(node.CAPath, s.CA.Certificate), private(node.TokenPath, token+"\n")}, nil
}

// pair are the files of a certificate and its key.
func pair(path string, p Pair) []butaneFile {
	return []butaneFile{private(path+".crt", p.Certificate), private(path+".key", string(p.Key))}
}

// secretDirectories closes the directories that keys are in.
func secretDirectories(files []butaneFile) []butaneDirectory {
	var list []butaneDirectory
	for _, dir := range []string{pkiDir, pkiDir + "/etcd", node.EtcdPKI, node.RegistryDir} {
		holds := func(f butaneFile) bool { return strings.HasPrefix(path.Dir(f.Path)+"/", dir+"/") }
		if slices.ContainsFunc(files, holds) {
			list = append(list, butaneDirectory{dir, 0o700})
		}
	}
	return list
}

func paths(files []butaneFile) []string {
	var list []string
	for _, f := range files {
		list = append(list, f.Path)
	}
	return list
}
