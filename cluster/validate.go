package cluster

import (
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// checker collects everything that is wrong with one cluster.
type checker struct {
	c        *Cluster
	net      subnets
	problems Problems
}

func (v *checker) errorf(field, format string, args ...any) {
	v.add(SeverityError, field, format, args...)
}

func (v *checker) warnf(field, format string, args ...any) {
	v.add(SeverityWarning, field, format, args...)
}

func (v *checker) add(s Severity, field, format string, args ...any) {
	v.problems = append(v.problems, Problem{Field: field, Message: fmt.Sprintf(format, args...), Severity: s})
}

// Validate reports everything that is wrong or unwise in a cluster whose
// defaults are set. The problems name fields, not lines; Load adds those.
func (c *Cluster) Validate() Problems {
	v := &checker{c: c}
	v.header()
	v.kubernetes()
	v.network()
	v.loadBalancer()
	v.registry()
	v.images()
	v.rook()
	v.ssh()
	v.timeouts()
	v.roles()
	v.nodes()
	v.topology()
	v.lab()
	return v.problems
}

// sortedKeys keeps the order of problems the same in every run.
func sortedKeys[K ~string, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// allowed reports a value that is not in the list.
func allowed[T ~string](v *checker, field string, value T, list []T) bool {
	if slices.Contains(list, value) {
		return true
	}
	if value == "" {
		words := strings.Trim(fmt.Sprint(list), "[]")
		v.errorf(field, "is required: expected one of %s", strings.ReplaceAll(words, " ", ", "))
		return false
	}
	v.errorf(field, "%s", oneOf(value, list))
	return false
}

func (v *checker) header() {
	c := v.c
	if c.APIVersion == "" {
		v.errorf("apiVersion", "is required: expected %s", APIVersion)
	} else {
		allowed(v, "apiVersion", c.APIVersion, []string{APIVersion})
	}
	v.label("name", c.Name)
	allowed(v, "topology", c.Topology, Topologies())
	allowed(v, "size", c.Size, Sizes())
	allowed(v, "base", c.Base, Bases())
	for _, base := range sortedKeys(c.Mirrors) {
		field, mirror := child("mirrors", base), c.Mirrors[base]
		allowed(v, field, base, Bases())
		v.mirror(field, mirror)
	}
}

func (v *checker) mirror(field, mirror string) {
	u, err := url.Parse(mirror)
	switch {
	case err != nil || !slices.Contains([]string{"http", "https", "file"}, u.Scheme) || u.Host+u.Path == "":
		v.errorf(field, "expected a URL that starts with http://, https:// or file:///")
	case u.User != nil:
		v.errorf(field, "must not carry a user or password: mirrors appear in locks and logs")
	case u.Scheme != "file" && u.Host == "":
		v.errorf(field, "expected a host after %s://", u.Scheme)
	}
}

func (v *checker) kubernetes() {
	k := v.c.Kubernetes
	allowed(v, "kubernetes.version", k.Version, KubernetesVersions())
	allowed(v, "kubernetes.cni", k.CNI, CNIs())
	if !isDNSName(k.DNSDomain) {
		v.errorf("kubernetes.dnsDomain", "expected a DNS name in lower case such as cluster.local, got %q", short(k.DNSDomain))
	}
	for i, san := range k.CertSANs {
		if !isHost(strings.TrimPrefix(san, "*.")) {
			v.errorf(fmt.Sprintf("kubernetes.certSANs[%d]", i), "expected a DNS name or an address, got %q", short(san))
		}
	}
}

// privateKey is how every PEM private key starts.
const privateKey = "PRIVATE KEY"

// publicKey is sshd(8)'s AUTHORIZED_KEYS FILE FORMAT without options: nothing
// there may weaken what the image allows.
var publicKey = regexp.MustCompile(`^(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)|sk-ssh-ed25519@openssh\.com|sk-ecdsa-sha2-nistp256@openssh\.com) AAAA[A-Za-z0-9+/]{40,}={0,3}( [^\n]*)?$`)

func (v *checker) ssh() {
	for i, key := range v.c.SSH.AuthorizedKeys {
		field := fmt.Sprintf("ssh.authorizedKeys[%d]", i)
		// The value is never repeated: it may be a private key.
		if strings.Contains(key, privateKey) {
			v.errorf(field, "this is a private key: remove it from the file, replace it, and give the public one (*.pub)")
		} else if !publicKey.MatchString(strings.TrimSpace(key)) {
			v.errorf(field, "expected one line of a *.pub file, such as: ssh-ed25519 AAAA… comment")
		}
	}
}

func (v *checker) timeouts() {
	check := func(field string, d Duration, least, most time.Duration) {
		if time.Duration(d) < least || time.Duration(d) > most {
			v.errorf(field, "expected %s to %s, got %s", Duration(least), Duration(most), d)
		}
	}
	const least, most = 30 * time.Second, 24 * time.Hour
	check("timeouts.api", v.c.Timeouts.API, least, most)
	check("timeouts.etcd", v.c.Timeouts.Etcd, least, most)
	// etcd takes no election timeout of more than 50 s.
	check("timeouts.heartbeat", v.c.Timeouts.Heartbeat, time.Duration(defaultHeartbeat), 5*time.Second)
}

// packageName is Debian policy 5.6.1, with the capitals and underscores that
// RPM packages have.
var packageName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9+._-]*$`)

func (v *checker) roles() {
	for _, role := range sortedKeys(v.c.Roles) {
		field, options := child("roles", string(role)), v.c.Roles[role]
		if !allowed(v, field, role, Roles()) {
			continue
		}
		if options.Base != "" {
			allowed(v, field+".base", options.Base, Bases())
		}
		seen := map[string]bool{}
		for i, name := range options.Packages {
			at := fmt.Sprintf("%s.packages[%d]", field, i)
			if !packageName.MatchString(name) {
				v.errorf(at, "expected the name of a package, got %q", short(name))
			} else if seen[name] {
				v.errorf(at, "%s is already in this list", name)
			}
			seen[name] = true
		}
	}
}

func (v *checker) lab() {
	lab := v.c.Lab
	if lab.CPUs < 1 || lab.CPUs > maxCPUs {
		v.errorf("lab.cpus", "expected 1 to %d, got %d", maxCPUs, lab.CPUs)
	} else if lab.CPUs < 2 {
		v.warnf("lab.cpus", "a master with 1 CPU is slow: kubeadm wants 2")
	}
	if lab.Memory < 512*MiB {
		v.errorf("lab.memory", "expected at least 512MiB, got %s", lab.Memory)
	} else if lab.Memory < 2*GiB {
		v.warnf("lab.memory", "a master needs 2GiB to start and 4GiB to work")
	}
	if lab.Disk < 4*GiB {
		v.errorf("lab.disk", "expected at least 4GiB, got %s", lab.Disk)
	}
}
