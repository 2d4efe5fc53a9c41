package ignition

import (
	"errors"
	"fmt"
	"strings"

	"imgbuild/cluster"
	"imgbuild/cluster/node"
)

// The services outside of the cluster that its Harbor uses.

// externalSecret is a secret that we cannot make: somebody gives it to us.
type externalSecret struct {
	// name is how it is given, file where a node of role harbor finds it, of what
	// is what it belongs to.
	name, file, of string
	// wanted tells whether cluster.yaml has that.
	wanted func(e cluster.External) bool
}

func externalSecrets() []externalSecret {
	return []externalSecret{
		{"registry-database", node.DatabasePasswordPath, "registry.external.database", func(e cluster.External) bool { return e.Database != (cluster.Database{}) }},
		{"registry-redis", node.RedisPasswordPath, "registry.external.redis", func(e cluster.External) bool { return e.Redis != (cluster.Redis{}) }},
		{"registry-s3", node.S3KeyPath, "registry.external.s3", func(e cluster.External) bool { return e.S3.AccessKey != "" }},
	}
}

// ExternalSecrets are the names of the secrets that are given to us.
func ExternalSecrets() []string {
	var names []string
	for _, e := range externalSecrets() {
		names = append(names, e.name)
	}
	return names
}

// externalFiles are the secrets of the services that cluster.yaml has.
func externalFiles(c *cluster.Cluster, s Secrets) ([]butaneFile, error) {
	var files []butaneFile
	if ca := c.Registry.External.CA; ca != "" {
		files = append(files, public(node.ExternalCAPath, ca))
	}
	for _, e := range externalSecrets() {
		if !e.wanted(c.Registry.External) {
			continue
		}
		secret := s.External[e.name]
		if secret == "" {
			return nil, fmt.Errorf("%s has no password yet: imgbuild secrets --set %s takes it", e.of, e.name)
		}
		files = append(files, private(e.file, string(secret)+"\n"))
	}
	return files, nil
}

// checkExternal is nil for a secret of one line.
func checkExternal(secret Key) error {
	text := string(secret)
	if text == "" || len(text) > 256 || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
		return errors.New("expected one line of at most 256 ASCII letters, digits and signs")
	}
	return nil
}

const (
	databasePort = 5432
	redisPort    = 6379
)

// addExternal tells a node what is elsewhere.
func addExternal(r *node.Registry, e cluster.External) {
	if d := e.Database; d != (cluster.Database{}) {
		host, port := splitHostPort(d.Host, databasePort)
		r.Database = &node.Database{Host: host, Port: port, Name: d.Name, User: d.User, SSLMode: string(d.SSLMode)}
	}
	if d := e.Redis; d != (cluster.Redis{}) {
		host, port := splitHostPort(d.Host, redisPort)
		r.Redis = &node.Redis{Host: host, Port: port, User: d.User, TLS: d.TLS}
	}
	if b := e.S3; b != (cluster.S3{}) {
		r.S3 = &node.S3{Bucket: b.Bucket, Region: b.Region, Endpoint: strings.TrimSuffix(b.Endpoint, "/"), AccessKey: b.AccessKey, Folder: b.Folder, Redirect: b.Redirect}
	}
}
