package firstboot

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"imgbuild/cluster/node"
)

// harborVersion is the release whose images are baked: roles/parts/registry-harbor.
const harborVersion = "v2.15.2"

// harborData is on state, or on the node's data disk.
const harborData = "/var/lib/harbor"

// harborPart is one container of Harbor.
type harborPart struct {
	name, image string
	env         map[string]string
	// mounts are paths of the container by those of the machine.
	mounts map[string]string
	// probe is an HTTP path, at port; or a program, where port is 0.
	probe string
	port  int
	// first are the parts that the others cannot start without.
	first bool
}

// harborPod is all of Harbor as one pod: its parts share a network of their own,
// so that nothing of it but the proxy can be reached from outside, and find each
// other by the names that they have in Harbor's own compose file. hash makes the
// kubelet start it anew when a file has changed.
func harborPod(n node.Node, s harborSecret, h harborServices, hash string) ([]byte, error) {
	var first, containers, volumes []object
	for _, p := range harborParts(n, s, h) {
		c := p.container()
		if p.name == "proxy" {
			c["ports"] = []object{{"containerPort": harborProxyPort, "hostPort": n.Registry.Port}}
		}
		if p.first {
			// A container that starts before the others and runs beside them.
			c["restartPolicy"] = "Always"
			first = append(first, c)
		} else {
			containers = append(containers, c)
		}
		for _, path := range slices.Sorted(maps.Keys(p.mounts)) {
			if v := harborVolume(path); !slices.ContainsFunc(volumes, func(o object) bool { return o["name"] == v["name"] }) {
				volumes = append(volumes, v)
			}
		}
	}
	text, err := yaml.Marshal(object{
		"apiVersion": "v1", "kind": "Pod",
		"metadata": object{"name": "harbor", "namespace": "default", "annotations": object{contentAnnotation: hash}},
		"spec": object{
			"automountServiceAccountToken": false,
			"enableServiceLinks":           false,
			"restartPolicy":                "Always",
			"hostAliases":                  []object{{"ip": "127.0.0.1", "hostnames": h.called()}},
			"initContainers":               first,
			"containers":                   containers,
			"volumes":                      append(volumes, object{"name": "shm", "emptyDir": object{"medium": "Memory", "sizeLimit": "1Gi"}}),
		},
	})
	if err != nil {
		return nil, fmt.Errorf("pod of Harbor: %w", err)
	}
	return text, nil
}

func harborParts(n node.Node, s harborSecret, h harborServices) []harborPart {
	const trust = "/harbor_cust_cert"
	registry := map[string]string{harborData + "/registry": "/storage", harborDir + "/registry": "/etc/registry", harborDir + "/trust": trust}
	registryctl := maps.Clone(registry)
	registryctl[harborDir+"/registryctl/config.yml"] = "/etc/registryctl/config.yml"
	shared := map[string]string{"CORE_SECRET": s.make("core-secret", 16), "JOBSERVICE_SECRET": s.make("jobservice-secret", 16)}
	parts := []harborPart{
		{
			name: "postgresql", image: "harbor-db", first: true, probe: "/docker-healthcheck.sh",
			env:    map[string]string{"POSTGRES_PASSWORD": s.make("database-password", 32)},
			mounts: map[string]string{harborData + "/database": "/var/lib/postgresql/data"},
		},
		{
			name: "redis", image: "valkey-photon", first: true, probe: "docker-healthcheck",
			mounts: map[string]string{harborData + "/redis": "/var/lib/redis"},
		},
		{name: "registry", image: "registry-photon", probe: "/", port: harborRegistryPort, mounts: registry},
		{name: "registryctl", image: "harbor-registryctl", probe: "/api/health", port: harborRegistryctlPort, env: shared, mounts: registryctl},
		{
			name: "core", image: "harbor-core", probe: "/api/v2.0/ping", port: harborCorePort, env: harborCoreEnv(n, s, h),
			mounts: map[string]string{
				harborDir + "/core/app.conf": "/etc/core/app.conf", harborDir + "/core/key": "/etc/core/key",
				harborDir + "/core/private_key.pem": "/etc/core/private_key.pem", harborDir + "/trust": trust,
				harborData + "/ca_download": "/etc/core/ca",
			},
		},
		{
			// It listens on 127.0.0.1 only, where the kubelet does not ask.
			name: "portal", image: "harbor-portal",
			mounts: map[string]string{harborDir + "/portal/nginx.conf": "/etc/nginx/nginx.conf"},
		},
		{
			name: "jobservice", image: "harbor-jobservice", probe: "/api/v1/stats", port: harborJobservicePort, env: harborJobEnv(s),
			mounts: map[string]string{
				harborDir + "/jobservice/config.yml": "/etc/jobservice/config.yml", harborData + "/job_logs": "/var/log/jobs", harborDir + "/trust": trust,
			},
		},
		{
			name: "proxy", image: "nginx-photon",
			mounts: map[string]string{harborDir + "/nginx": "/etc/nginx", harborDir + "/cert": "/etc/cert", harborDir + "/trust": trust},
		},
	}
	return slices.DeleteFunc(parts, func(p harborPart) bool {
		return p.name == "postgresql" && !h.ownDatabase || p.name == "redis" && !h.ownRedis
	})
}

// container is the part's. The capabilities are those of Harbor's compose file.
func (p harborPart) container() object {
	c := object{
		"name": p.name, "image": "docker.io/goharbor/" + p.image + ":" + harborVersion, "imagePullPolicy": "Never",
		"securityContext": object{"capabilities": object{"drop": []string{"ALL"}, "add": []string{"CHOWN", "SETGID", "SETUID"}}},
	}
	var env, mounts []object
	for _, name := range slices.Sorted(maps.Keys(p.env)) {
		// A pod's "$(NAME)" is the value of a variable, and "$$" a dollar sign.
		env = append(env, object{"name": name, "value": strings.ReplaceAll(p.env[name], "$", "$$")})
	}
	for _, path := range slices.Sorted(maps.Keys(p.mounts)) {
		mount := object{"name": harborVolume(path)["name"], "mountPath": p.mounts[path]}
		if !isData(path) {
			mount["readOnly"] = true
		}
		mounts = append(mounts, mount)
	}
	if p.name == "postgresql" {
		mounts = append(mounts, object{"name": "shm", "mountPath": "/dev/shm"})
		c["securityContext"].(object)["capabilities"].(object)["add"] = []string{"CHOWN", "DAC_OVERRIDE", "SETGID", "SETUID"}
	}
	if len(env) > 0 {
		c["env"] = env
	}
	c["volumeMounts"] = mounts
	if p.probe == "" {
		return c
	}
	check := object{"exec": object{"command": []string{p.probe}}}
	if p.port > 0 {
		check = object{"httpGet": object{"path": p.probe, "port": p.port}}
	}
	// A first start makes the database, which takes minutes on a slow machine.
	start := object{"periodSeconds": 5, "timeoutSeconds": 10, "failureThreshold": 240}
	live := object{"periodSeconds": 30, "timeoutSeconds": 10, "failureThreshold": 5}
	for key, value := range check {
		start[key], live[key] = value, value
	}
	c["startupProbe"], c["livenessProbe"] = start, live
	return c
}

func isData(path string) bool { return strings.HasPrefix(path, harborData+"/") }

// harborVolume is a file or a folder of the machine.
func harborVolume(path string) object {
	name := strings.NewReplacer("/", "-", ".", "-", "_", "-").Replace(path[1:])
	return object{"name": name, "hostPath": object{"path": path}}
}

// harborKubeletConfig is that of a kubelet without an API server: it runs the
// pods of a folder, keeps their logs small, and listens on nothing.
func harborKubeletConfig(n node.Node) object {
	config := anyKubelet(n)
	maps.Copy(config, object{
		"staticPodPath":        harborPods,
		"enableServer":         false,
		"authentication":       object{"anonymous": object{"enabled": false}, "webhook": object{"enabled": false}},
		"authorization":        object{"mode": "AlwaysAllow"},
		"containerLogMaxSize":  "50Mi",
		"containerLogMaxFiles": 5,
	})
	return config
}

// firstSubnet is a /24 of the pods' range. On a node of role harbor it is nobody
// else's: no pod of the cluster runs there.
func firstSubnet(pods string) (string, error) {
	p, err := netip.ParsePrefix(pods)
	if err != nil {
		return "", Stop{"kubernetes.podSubnet: " + err.Error() + ": render the config again"}
	}
	return netip.PrefixFrom(p.Masked().Addr(), max(p.Bits(), 24)).String(), nil
}

// harborNetwork is the CNI configuration of Harbor's pod: cni.dev, "bridge".
func harborNetwork(subnet string) ([]byte, error) {
	data, err := json.MarshalIndent(object{
		"cniVersion": "1.0.0",
		"name":       "harbor",
		"plugins": []object{
			{
				"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
				"ipMasq": true, "ipMasqBackend": "nftables",
				"ipam": object{"type": "host-local", "ranges": [][]object{{{"subnet": subnet}}}, "routes": []object{{"dst": "0.0.0.0/0"}}},
			},
			{"type": "portmap", "backend": "nftables", "capabilities": object{"portMappings": true}},
		},
	}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("CNI configuration: %w", err)
	}
	return append(data, '\n'), nil
}
