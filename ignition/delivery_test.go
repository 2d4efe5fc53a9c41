package ignition

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"imgbuild/cluster"
	"imgbuild/cluster/node"
)

// everySecret names all that the nodes of a cluster are given by secrets, and
// the cluster's public CA.
func everySecret(t *testing.T, c *cluster.Cluster, s Secrets) map[string]string {
	t.Helper()
	password, err := vrrpPassword(s)
	require.NoError(t, err)
	all := map[string]string{
		"service-account public key":  s.ServiceAccount.Public,
		"service-account private key": string(s.ServiceAccount.Key),
		"VRRP password":               password + "\n",
	}
	registry, err := RegistryPassword(s)
	require.NoError(t, err)
	hash := sha256.Sum256([]byte(registry))
	uploads, err := s.CA.Key.derive("imgbuild/registry-uploads/v1", s.Cluster)
	require.NoError(t, err)
	all["registry's password"] = registry + "\n"
	all["hash of the registry's password"] = hex.EncodeToString(hash[:]) + "\n"
	all["registry's upload secret"] = hex.EncodeToString(uploads) + "\n"
	harbor, err := s.CA.Key.derive("imgbuild/harbor/v1", s.Cluster)
	require.NoError(t, err)
	all["Harbor's secret"] = hex.EncodeToString(harbor) + "\n"
	all["registry's token key"] = string(s.RegistryToken)
	for name, secret := range s.External {
		all[name] = string(secret) + "\n"
	}
	add := func(name string, p Pair) {
		all[name+" certificate"], all[name+" private key"] = p.Certificate, string(p.Key)
	}
	for _, p := range s.pairs() {
		add(p.name, p.pair)
	}
	for _, n := range c.Nodes {
		token, err := node.Token(string(s.CA.Key), c.Name, n.Name)
		require.NoError(t, err)
		all[n.Name+" token"] = token + "\n"
		for _, use := range []string{"server", "peer"} {
			p, err := etcdMember(s, use, n.Name, n.Address)
			require.NoError(t, err)
			add(n.Name+" "+use, p)
		}
		p, err := registryServer(s, n.Name, n.Address, registryHost(c))
		require.NoError(t, err)
		add(n.Name+" registry", p)
	}
	return all
}

// given says what of everySecret a config holds, by path.
func given(t *testing.T, c *cluster.Cluster, s Secrets, files map[string]string) map[string]string {
	t.Helper()
	found := map[string]string{}
	for name, text := range everySecret(t, c, s) {
		for path, content := range files {
			if strings.Contains(content, strings.TrimSpace(text)) {
				assert.Equal(t, text, content, "%s is not all of %s", name, path)
				found[path] = name
			}
		}
	}
	return found
}

// No node gets a secret that it has no use for, and node.json lists exactly
// what it gets. NODE is the node's own name.
func TestSecretsOfEachRoleAreMinimal(t *testing.T) {
	master := map[string]string{
		pkiDir + "/ca.crt":             "kubernetes-ca certificate",
		pkiDir + "/ca.key":             "kubernetes-ca private key",
		pkiDir + "/front-proxy-ca.crt": "front-proxy-ca certificate",
		pkiDir + "/front-proxy-ca.key": "front-proxy-ca private key",
		pkiDir + "/sa.pub":             "service-account public key",
		pkiDir + "/sa.key":             "service-account private key",
		pkiDir + "/etcd/ca.crt":        "etcd-ca certificate",
	}
	with := func(more map[string]string, list ...map[string]string) map[string]string {
		all := maps.Clone(more)
		for _, m := range list {
			maps.Copy(all, m)
		}
		return all
	}
	stacked := with(master, map[string]string{pkiDir + "/etcd/ca.key": "etcd-ca private key"})
	external := with(master, map[string]string{
		pkiDir + "/apiserver-etcd-client.crt": "apiserver-etcd-client certificate",
		pkiDir + "/apiserver-etcd-client.key": "apiserver-etcd-client private key",
	})
	etcd := map[string]string{
		"/etc/etcd/pki/ca.crt":     "etcd-ca certificate",
		"/etc/etcd/pki/server.crt": "NODE server certificate",
		"/etc/etcd/pki/server.key": "NODE server private key",
		"/etc/etcd/pki/peer.crt":   "NODE peer certificate",
		"/etc/etcd/pki/peer.key":   "NODE peer private key",
	}
	ca := map[string]string{"/etc/imgbuild/ca.crt": "kubernetes-ca certificate"}
	worker := with(ca, map[string]string{"/etc/imgbuild/token": "NODE token"})
	registry := with(ca, map[string]string{
		"/etc/imgbuild/registry/tls.crt": "NODE registry certificate",
		"/etc/imgbuild/registry/tls.key": "NODE registry private key",
	})
	distribution := with(registry, map[string]string{
		"/etc/imgbuild/registry/password.sha256": "hash of the registry's password",
		"/etc/imgbuild/registry/upload-secret":   "registry's upload secret",
	})
	harbor := with(registry, map[string]string{
		"/etc/imgbuild/registry/admin-password": "registry's password",
		"/etc/imgbuild/registry/harbor-secret":  "Harbor's secret",
		"/etc/imgbuild/registry/token.key":      "registry's token key",
	})
	shared := with(harbor, map[string]string{
		"/etc/imgbuild/registry/database-password": "registry-database",
		"/etc/imgbuild/registry/redis-password":    "registry-redis",
		"/etc/imgbuild/registry/s3-secret-key":     "registry-s3",
	})
	vrrp := map[string]string{"/etc/imgbuild/vrrp": "VRRP password"}

	s := testSecrets(t)
	s.External = externalForTest()
	for name, roles := range map[string]map[cluster.Role]map[string]string{
		"single": {cluster.RoleMaster: stacked},
		"everything": {
			cluster.RoleMaster: stacked, cluster.RoleLB: with(ca, vrrp), cluster.RoleHarbor: harbor,
			cluster.RoleWorker: worker, cluster.RoleRook: worker,
		},
		"external-etcd": {
			cluster.RoleMaster: external, cluster.RoleLB: with(ca, vrrp),
			cluster.RoleEtcd: etcd, cluster.RoleWorker: worker,
		},
		"harbors":    {cluster.RoleMaster: stacked, cluster.RoleHarbor: shared},
		"co-located": {cluster.RoleMaster: with(stacked, vrrp), cluster.RoleWorker: worker, cluster.RoleHarbor: distribution},
	} {
		c := load(t, name)
		for _, n := range c.Nodes {
			t.Run(name+"-"+n.Name, func(t *testing.T) {
				want := map[string]string{}
				for path, secret := range roles[n.Role] {
					want[path] = strings.ReplaceAll(secret, "NODE", n.Name)
				}
				config := render(t, c, n.Name, s)
				files := written(t, config)
				assert.Equal(t, want, given(t, c, s, files))

				described, err := node.Decode([]byte(files[node.Path]))
				require.NoError(t, err)
				assert.ElementsMatch(t, slices.Collect(maps.Keys(want)), described.Secrets)
				for _, f := range config.Storage.Files {
					_, secret := want[f.Path]
					switch {
					case f.Path == node.CAPath:
						assert.Equal(t, 0o644, *f.Mode, f.Path)
					case secret:
						assert.Equal(t, 0o600, *f.Mode, f.Path)
					}
					// Whatever else there may be of this form.
					assert.True(t, secret || !strings.Contains(files[f.Path], "-----BEGIN"), f.Path)
				}
				for _, dir := range []string{"/etc/kubernetes/pki", "/etc/etcd/pki", "/etc/imgbuild/registry"} {
					closed := slices.ContainsFunc(config.Storage.Directories, func(d directory) bool { return d.Path == dir && *d.Mode == 0o700 })
					holds := slices.ContainsFunc(slices.Collect(maps.Keys(want)), func(p string) bool { return strings.HasPrefix(p, dir+"/") })
					assert.Equal(t, holds, closed, "%s is closed", dir)
				}
			})
		}
	}
}

// The secrets file knows nothing of nodes: one that is added later gets its own,
// and nobody else's config changes by it but for names and addresses.
func TestANodeThatIsAddedLater(t *testing.T) {
	c, s := load(t, "external-etcd"), testSecrets(t)
	before := map[string]map[string]string{}
	for _, n := range c.Nodes {
		before[n.Name] = given(t, c, s, written(t, render(t, c, n.Name, s)))
	}
	c.Nodes = append(c.Nodes,
		cluster.Node{Name: "worker-9", Role: cluster.RoleWorker, MAC: "52:54:00:77:00:39", Address: "10.77.0.39"},
		cluster.Node{Name: "etcd-4", Role: cluster.RoleEtcd, MAC: "52:54:00:77:00:44", Address: "10.77.0.44"})
	for _, n := range c.Nodes {
		got := given(t, c, s, written(t, render(t, c, n.Name, s)))
		if was, old := before[n.Name]; old {
			assert.Equal(t, was, got, n.Name)
		}
		assert.NotEmpty(t, got, n.Name)
	}
}
