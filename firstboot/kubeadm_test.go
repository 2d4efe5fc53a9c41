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

// configs are the kubeadm configurations that are kept as golden files.
func configs() map[string][]byte {
	single := testNode()
	stacked := testNode()
	stacked.Topology = "stacked"
	stacked.Endpoint = node.Endpoint{Host: "api.example.com", Port: 8443}
	stacked.Kubernetes.MasterTaint = true
	stacked.Kubernetes.CertSANs = []string{"api.example.com", "10.77.0.10"}
	stacked.Labels = map[string]string{"rack": "a1", "example.com/zone": ""}
	all := map[string][]byte{}
	for name, n := range map[string]node.Node{"single": single, "stacked": stacked} {
		var ignore []string
		if name == "stacked" {
			ignore = ownTraces()
		}
		text, err := kubeadmConfig(n, ignore)
		if err != nil {
			panic(err)
		}
		all[name] = text
	}
	return all
}

func TestKubeadmConfig(t *testing.T) {
	for name, text := range configs() {
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
