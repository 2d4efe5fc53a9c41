package firstboot

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"imgbuild/cluster/node"
)

// The configurations of kubeadm for every kind of node.
func TestKubeadmConfig(t *testing.T) {
	stacked := haNode("master-1", "stacked")
	stacked.Endpoint = node.Endpoint{Host: "api.example.com", Port: 8443}
	stacked.Kubernetes.MasterTaint = true
	stacked.Kubernetes.CertSANs = []string{"api.example.com", "10.77.0.10"}
	stacked.Labels = map[string]string{"rack": "a1", "example.com/zone": ""}
	stacked.Timeouts.Heartbeat = "1s"
	external := haNode("master-1", "external-etcd")
	external.Kubernetes.MasterTaint = true
	for name, render := range map[string]func() ([]byte, error){
		"single":       func() ([]byte, error) { return kubeadmConfig(testNode(), nil) },
		"stacked":      func() ([]byte, error) { return kubeadmConfig(stacked, ownTraces(roleMaster, "stacked")) },
		"external":     func() ([]byte, error) { return kubeadmConfig(external, ownTraces(roleMaster, "external-etcd")) },
		"stacked-join": func() ([]byte, error) { return joinConfig(haNode("master-2", "stacked"), joinOptions{}) },
		"stacked-resume": func() ([]byte, error) {
			return joinConfig(haNode("master-2", "stacked"), joinOptions{ignore: ownTraces(roleMaster, "stacked"), skip: []string{"kubelet-start"}})
		},
		"external-join": func() ([]byte, error) { return joinConfig(external, joinOptions{}) },
		"worker": func() ([]byte, error) {
			return joinConfig(haNode("worker-1", "stacked"), joinOptions{token: "abcdef.0123456789abcdef"})
		},
		"worker-resume": func() ([]byte, error) {
			return joinConfig(haNode("worker-1", "stacked"), joinOptions{ignore: ownTraces(roleWorker, "stacked"), token: "abcdef.0123456789abcdef"})
		},
	} {
		text, err := render()
		require.NoError(t, err)
		golden(t, "kubeadm-"+name+".yaml", string(text))
	}
}

func TestKubeadmOutputBecomesOneLinePerTag(t *testing.T) {
	f := newFake(t)
	m := f.machine()
	f.programs["kubeadm"] = func(c Command) error {
		for _, part := range []string{"[preflight] Running pre-", "flight checks\n[preflight] done\n", "\t[WARNING Hostname]: x\n", "[certs] a\n", "[certs] b"} {
			fmt.Fprint(c.Stdout, part)
			f.advance(500 * time.Millisecond)
		}
		fmt.Fprintln(c.Stderr, "W1123 token 0a1b2c.0123456789abcdef is used")
		return nil
	}
	require.NoError(t, m.kubeadm(t.Context(), "init"))
	assert.Equal(t, "imgbuild: kubeadm preflight (1.0s)\nimgbuild: kubeadm certs (1.0s)\n", f.console.String())
	assert.Contains(t, f.journal.String(), "kubeadm: [preflight] Running pre-flight checks\n")
	assert.Contains(t, f.journal.String(), "kubeadm: [certs] b\n", "the last line has no line feed")
	assert.Contains(t, f.journal.String(), "token <token> is used")
}

func TestTailKeepsTheLastLinesOnOne(t *testing.T) {
	assert.Equal(t, ": b c d", tail("a\nb\n\n c\nd\nTo see the stack trace of this error\n"))
	assert.Empty(t, tail("\n"))
	assert.Len(t, []rune(tail(string(bytes.Repeat([]byte("x"), 900)))), 403)
}
