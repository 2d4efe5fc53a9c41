package firstboot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"

	"imgbuild/cluster/node"
)

// workerPhases make a node that is no master. It may be turned on long before
// the masters, and waits for them at almost no cost.
func (m *machine) workerPhases() []Phase {
	phases := []Phase{
		{Name: "kubelet", Done: m.kubeletDone, Run: m.runKubelet},
		{Name: "api", Done: never, Run: m.waitEndpoint},
		{Name: "join", Done: m.workerDone, Run: m.joinWorker},
	}
	phases = append(phases, m.networkPhases()...)
	return append(phases,
		Phase{Name: "node", Done: never, Run: m.waitNode},
		Phase{Name: "service", Done: never, Run: m.runNodeChecks},
	)
}

// faultyWorker checks what kubeadm join and the kubelet's TLS bootstrap leave.
func (m *machine) faultyWorker(note func(string, error)) {
	ca, err := m.clusterCA()
	if err != nil {
		note(node.CAPath, err)
		return
	}
	who, err := m.host.readKubeconfig(kubeletConf, ca)
	if err == nil && m.host.Now().After(who.client.Leaf.NotAfter) {
		err = errors.New("client certificate: has expired")
	}
	note(kubeletConf, err)
	copied, err := m.host.read(pki + "/ca.crt")
	if err == nil {
		if own, broken := parseCertificate(copied); broken != nil || !own.Equal(ca) {
			err = errors.New("is not the cluster's CA")
		}
	}
	note(pki+"/ca.crt", err)
}

// workerDone: kubeadm removes bootstrap-kubelet.conf, which holds the token, as
// the last of all.
func (m *machine) workerDone(context.Context) (bool, error) {
	return len(m.faults()) == 0 && !m.host.exists(bootstrapConf), nil
}

// joinWorker is one attempt to join with this node's token.
func (m *machine) joinWorker(ctx context.Context) error {
	faults := m.faults()
	if len(faults) == 0 { // the kubelet had everything it needs when the power went
		if err := m.startKubelet(ctx); err != nil {
			return err
		}
		return m.removeBootstrap()
	}
	token, err := m.token()
	if err != nil {
		return err
	}
	if err := m.checkToken(ctx, token, faults); err != nil {
		return err
	}
	ignore, err := m.clearWay(ctx, faults)
	if err != nil {
		return err
	}
	config, err := joinConfig(m.node, joinOptions{ignore: ignore, token: token})
	if err != nil {
		return err
	}
	if err := m.runJoinConfig(ctx, config); err != nil {
		return err
	}
	if faults := m.faults(); len(faults) > 0 {
		return fmt.Errorf("kubeadm join has ended, but %s", describeFaults(faults))
	}
	return m.removeBootstrap()
}

func (m *machine) removeBootstrap() error {
	if err := os.Remove(m.host.path(bootstrapConf)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", bootstrapConf, reason(err))
	}
	return nil
}

// token is the one that Ignition delivered.
func (m *machine) token() (string, error) {
	data, err := m.host.read(node.TokenPath)
	if err != nil {
		return "", Stop{fmt.Sprintf("%s: %v: render the config of %s again and install it again", node.TokenPath, reason(err), m.node.Name)}
	}
	text := string(bytes.TrimSpace(data))
	if token.FindString(text) != text {
		return "", Stop{fmt.Sprintf("%s is not a bootstrap token: render the config of %s again and install it again", node.TokenPath, m.node.Name)}
	}
	return text, nil
}

// checkToken asks the API whether the token works now, before kubeadm would
// wait for it in vain: a master renews it while the node has not joined. The
// token is shown only to a server with a certificate of the cluster's CA.
func (m *machine) checkToken(ctx context.Context, text string, faults []fault) error {
	ca, err := m.clusterCA()
	if err != nil {
		return err
	}
	client := newAPI("https://"+m.endpoint(), credentials{ca: poolOf(ca)}, m.host.Dial)
	client.bearer = text
	err = client.get(ctx, "/api/v1/namespaces/kube-system/configmaps/kubeadm-config", nil)
	switch {
	case answered(err, http.StatusUnauthorized):
		return fmt.Errorf("waiting for a master to renew the token of %s", m.node.Name)
	case answered(err, http.StatusForbidden), notFound(err):
		return fmt.Errorf("waiting for the first master to finish its init: %w", err)
	case err != nil:
		return err
	}
	_, err = m.notAlive(ctx, client, faults)
	return err
}
