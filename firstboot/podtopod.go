package firstboot

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
)

var (
	//go:embed servicetest.yaml
	serviceTestObjects []byte
	//go:embed podtopod.yaml
	podToPodObjects []byte
)

// testPlace is where the pods of the service test run: anywhere in a cluster of
// one node, else peer here and web there.
type testPlace struct{ here, there string }

// webObjects are what servicetest.yaml says for a place.
func webObjects(where testPlace) []byte {
	selector, forward := "{}", ""
	if where.there != "" {
		selector = fmt.Sprintf("{kubernetes.io/hostname: %q}", where.there)
		forward = "forward . /etc/resolv.conf"
	}
	text := serviceTestObjects
	for mark, value := range map[string]string{"@SELECTOR@": selector, "@FORWARD@": forward, "@THERE@": where.there} {
		text = bytes.ReplaceAll(text, []byte(mark), []byte(value))
	}
	return text
}

// otherNode chooses the node that the test's pod is to run on: any that is
// ready, rather one that is no master. It does not wait for more nodes than
// there are: those that come later have checks of their own.
func (m *machine) otherNode(ctx context.Context) (string, error) {
	client, err := m.client()
	if err != nil {
		return "", err
	}
	nodes, err := listNodes(ctx, client)
	if err != nil {
		return "", err
	}
	found := ""
	for _, n := range nodes {
		ok, _ := ready(n.Status.Conditions)
		if !ok || n.Spec.Unschedulable || n.Metadata.Name == m.node.Name {
			continue
		}
		if _, master := n.Metadata.Labels[controlPlaneLabel]; !master {
			return n.Metadata.Name, nil
		}
		if found == "" {
			found = n.Metadata.Name
		}
	}
	if found == "" {
		return "", errors.New("waiting for another node to be ready: the test is between pods of two nodes")
	}
	return found, nil
}

// checkPodToPod asks the pod peer on this node for a name. It has to ask the pod
// web on the other node, and that one the cluster's DNS: so the answer has gone
// from pod to pod between two nodes and back, and through a Service.
func (m *machine) checkPodToPod(ctx context.Context, where testPlace) (string, error) {
	web, err := m.podOfTest(ctx, "web")
	if err != nil {
		return "", err
	}
	client, err := m.client()
	if err != nil {
		return "", err
	}
	there, err := removeOther(ctx, client, testNamespace+"/pods/peer", "web", web.Status.PodIP)
	if err != nil {
		return "", err
	}
	if !there {
		text := bytes.ReplaceAll(podToPodObjects, []byte("@WEB@"), []byte(web.Status.PodIP))
		if err := m.applyTest(ctx, client, bytes.ReplaceAll(text, []byte("@HERE@"), []byte(where.here))); err != nil {
			return "", err
		}
	}
	peer, err := m.podOfTest(ctx, "peer")
	if err != nil {
		return "", err
	}
	want, err := m.clusterIP(ctx, "imgbuild-test", "web")
	if err != nil {
		return "", err
	}
	address, err := m.lookUpAt(ctx, hostPort(peer.Status.PodIP, 5353), m.webName())
	if err != nil {
		return "", fmt.Errorf("%s on %s asks %s on %s: %w", peer.Status.PodIP, where.here, web.Status.PodIP, where.there, err)
	}
	if address != want {
		return "", fmt.Errorf("%s is %s, but the Service has %s", m.webName(), address, want)
	}
	return fmt.Sprintf("%s on %s reaches %s on %s", peer.Status.PodIP, where.here, web.Status.PodIP, where.there), nil
}

// removeOther removes a pod of an earlier attempt that was made for something
// else, which its label says: pods cannot be changed. there says that the right
// one is there.
func removeOther(ctx context.Context, client *api, path, label, want string) (there bool, err error) {
	var pod testPod
	err = client.get(ctx, path, &pod)
	switch {
	case notFound(err):
		return false, nil
	case err != nil:
		return false, err
	case pod.Metadata.Labels[label] == want:
		return true, nil
	}
	if err := client.delete(ctx, path); err != nil && !notFound(err) {
		return false, err
	}
	return false, errors.New("waiting for a pod of an earlier attempt to end")
}

// webName is the DNS name of the test's Service.
func (m *machine) webName() string { return "web.imgbuild-test.svc." + m.node.Kubernetes.DNSDomain }
