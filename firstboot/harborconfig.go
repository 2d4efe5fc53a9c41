package firstboot

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"fmt"
	"net"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"

	"imgbuild/cluster/node"
)

// The configuration of Harbor v2.15 as its own `prepare` makes it from harbor.yml
// (make/photon/prepare of that release), where ours has no reason to differ.
// docs/registry.md lists every difference.

// harborRegistryUser is how Harbor's core is known to its registry.
const harborRegistryUser = "harbor_registry_user"

// Where Harbor's parts are for each other. All are in one pod and so have one
// address: each has a port of its own. Only the proxy is reached from outside.
const (
	harborCorePort        = 8080
	harborPortalPort      = 8081
	harborJobservicePort  = 8082
	harborRegistryctlPort = 8083
	harborRegistryPort    = 5000
	harborProxyPort       = 8443
)

// harborSecret is what all nodes of role harbor of a cluster share.
type harborSecret struct {
	admin, token string
	key          []byte
}

func (m *machine) harborSecrets() (harborSecret, error) {
	admin, err := m.secretLine(node.RegistryDir + "/admin-password")
	if err != nil {
		return harborSecret{}, err
	}
	text, err := m.secretLine(node.RegistryDir + "/harbor-secret")
	if err != nil {
		return harborSecret{}, err
	}
	key, err := hex.DecodeString(text)
	if err != nil || len(key) != sha256.Size {
		return harborSecret{}, Stop{fmt.Sprintf("secret %s/harbor-secret is not 64 hex digits: render the config of %s again", node.RegistryDir, m.node.Name)}
	}
	token, err := m.host.read(node.RegistryDir + "/token.key")
	return harborSecret{admin, string(token), key}, err
}

// make derives a secret for a use, letters and digits, at most 52.
func (s harborSecret) make(use string, length int) string {
	mac := hmac.New(sha256.New, s.key)
	mac.Write([]byte(use))
	return strings.ToLower(base32.StdEncoding.EncodeToString(mac.Sum(nil)))[:length]
}

// harborFiles are all files of the configuration but for the registry's password
// file, by path.
func (m *machine) harborFiles() (map[string][]byte, error) {
	s, err := m.harborSecrets()
	if err != nil {
		return nil, err
	}
	h, err := m.harborServices(s)
	if err != nil {
		return nil, err
	}
	storage, more := h.storage()
	redis := inline(object{
		"addr": hostPort(h.redis.Host, h.redis.Port), "username": h.redis.User, "password": h.redisPassword, "db": 1, "enableTLS": h.redis.TLS,
		"readtimeout": "10s", "writetimeout": "10s", "dialtimeout": "10s", "pool": object{"maxidle": 100, "maxactive": 500, "idletimeout": "60s"},
	})
	files := map[string][]byte{
		harborDir + "/core/app.conf":          fmt.Appendf(nil, harborAppConf, harborCorePort),
		harborDir + "/core/key":               []byte(s.make("secret-key", 16)),
		harborDir + "/core/private_key.pem":   []byte(s.token),
		harborDir + "/jobservice/config.yml":  fmt.Appendf(nil, harborJobservice, harborJobservicePort, inline(h.redisURL(2)), h.jobLogger()),
		harborDir + "/nginx/nginx.conf":       fmt.Appendf(nil, harborNginx, harborCorePort, harborPortalPort, harborProxyPort),
		harborDir + "/portal/nginx.conf":      fmt.Appendf(nil, harborPortal, harborPortalPort),
		harborDir + "/registry/config.yml":    fmt.Appendf(nil, harborRegistry, storage, more, redis, harborRegistryPort, s.make("http-secret", 32)),
		harborDir + "/registryctl/config.yml": fmt.Appendf(nil, harborRegistryctl, harborRegistryctlPort),
	}
	for from, to := range map[string]string{
		node.CAPath:                   "/trust/cluster-ca.crt",
		node.RegistryDir + "/tls.crt": "/cert/server.crt",
		node.RegistryDir + "/tls.key": "/cert/server.key",
	} {
		if files[harborDir+to], err = m.host.read(from); err != nil {
			return nil, err
		}
	}
	if m.host.exists(node.ExternalCAPath) {
		if files[harborDir+"/trust/external-ca.crt"], err = m.host.read(node.ExternalCAPath); err != nil {
			return nil, err
		}
	}
	if files[harborKubelet], err = yaml.Marshal(harborKubeletConfig(m.node)); err != nil {
		return nil, fmt.Errorf("kubelet configuration: %w", err)
	}
	subnet, err := firstSubnet(m.node.Kubernetes.PodSubnet)
	if err != nil {
		return nil, err
	}
	if files[cniConfig], err = harborNetwork(subnet); err != nil {
		return nil, err
	}
	// Last: it names the hash of all others.
	files[harborPods+"/harbor.yaml"], err = harborPod(m.node, s, h, hashOf(files))
	return files, err
}

// hashOf changes when any file does.
func hashOf(files map[string][]byte) string {
	sum := sha256.New()
	for _, name := range harborOrder(files) {
		fmt.Fprintf(sum, "%s %d\n%s", name, len(files[name]), files[name])
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// harborURL is where users reach it.
func harborURL(r node.Registry) string {
	host, port, found := strings.Cut(r.Host, ":")
	if !found || port == strconv.Itoa(443) {
		return "https://" + host
	}
	return "https://" + net.JoinHostPort(host, port)
}

const harborAppConf = `appname = Harbor
runmode = prod
enablegzip = true

[prod]
httpport = %d
`

const harborJobservice = `protocol: http
port: %d
worker_pool:
  workers: 10
  backend: redis
  redis_pool:
    redis_url: %s
    namespace: harbor_job_service_namespace
    idle_timeout_second: 3600
job_loggers:
  - {name: STD_OUTPUT, level: INFO}
%sloggers:
  - {name: STD_OUTPUT, level: INFO}
reaper: {max_update_hours: 24, max_dangling_hours: 168}
max_retrieve_size_mb: 10
`

// harborJobFiles and harborJobTable are where the logs of jobs are, for a day.
const (
	harborJobFiles = `  - name: FILE
    level: INFO
    settings: {base_dir: /var/log/jobs}
    # Days.
    sweeper: {duration: 1, settings: {work_dir: /var/log/jobs}}
`
	harborJobTable = "  - {name: DB, level: INFO, sweeper: {duration: 1}}\n"
)

const harborRegistryctl = `protocol: http
port: %d
log_level: info
registry_config: /etc/registry/config.yml
`

const harborRegistry = `version: 0.1
log:
  level: info
  fields: {service: registry}
storage:
  cache: {layerinfo: redis}
  %s
  maintenance:
    uploadpurging: {enabled: true, age: 168h, interval: 24h, dryrun: false}
  delete: {enabled: true}%s
redis: %s
http:
  addr: :%d
  secret: %s
  debug: {addr: "localhost:5001"}
auth:
  htpasswd: {realm: harbor-registry-basic-realm, path: /etc/registry/passwd}
validation: {disabled: true}
compatibility:
  schema1: {enabled: true}
`
