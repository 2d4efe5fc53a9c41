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

// secretFiles are the secrets that a node of the role needs, and no others. The
// CA's certificate is among them: it is public, but no role works without it.
func secretFiles(topology cluster.Topology, role cluster.Role, s Secrets) []butaneFile {
	if role != cluster.RoleMaster {
		return []butaneFile{public(node.CAPath, s.CA.Certificate)}
	}
	files := slices.Concat(
		pair("ca", s.CA),
		pair("front-proxy-ca", s.FrontProxyCA),
		[]butaneFile{pki("sa.key", string(s.ServiceAccount.Key)), pki("sa.pub", s.ServiceAccount.Public)},
	)
	if topology == cluster.ExternalEtcd {
		// A client of etcd only: whoever breaks into a master cannot make
		// members.
		files = append(files, pki("etcd/ca.crt", s.EtcdCA.Certificate))
		return append(files, pair("apiserver-etcd-client", s.EtcdClient)...)
	}
	return append(files, pair("etcd/ca", s.EtcdCA)...)
}

func pair(name string, p Pair) []butaneFile {
	return []butaneFile{pki(name+".crt", p.Certificate), pki(name+".key", string(p.Key))}
}

func pki(name, text string) butaneFile { return private(pkiDir+"/"+name, text) }

// secretDirectories closes the directories that keys are in.
func secretDirectories(files []butaneFile) []butaneDirectory {
	var list []butaneDirectory
	for _, dir := range []string{pkiDir, pkiDir + "/etcd"} {
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
