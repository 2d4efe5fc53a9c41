package firstboot

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	consoles "imgbuild/console"
)

const (
	testNamespace = "/api/v1/namespaces/imgbuild-test"
	// testResult keeps the result in the cluster: the test is of the cluster,
	// so that it runs once in the cluster's life and not once per boot.
	testResult = "/api/v1/namespaces/kube-system/configmaps/imgbuild-service-test"

	// checkLimit is how long a check is tried before it has failed.
	checkLimit = 5 * time.Minute
	// checkTimeout is that of one try.
	checkTimeout = 10 * time.Second
)

// serviceTestDone reads the result of the test in an earlier boot.
func (m *machine) serviceTestDone(ctx context.Context) (bool, error) {
	client, err := m.client()
	if err != nil {
		return false, err
	}
	var kept struct {
		Data map[string]string `json:"data"`
	}
	if err := client.get(ctx, testResult, &kept); err != nil {
		if notFound(err) {
			return false, nil
		}
		return false, err
	}
	var result ServiceTest
	if json.Unmarshal([]byte(kept.Data["result"]), &result) != nil || !result.Passed {
		return false, nil
	}
	m.report.update(func(s *Status) { s.ServiceTest = &result })
	// Who watches the console of a machine with a new disk has not seen it.
	m.console.say("service test passed in an earlier boot")
	return true, nil
}

// namedCheck is one part of a test.
type namedCheck struct {
	name string
	try  func(context.Context) (string, error)
}

// runServiceTest starts pods and a Service and uses them as a client would.
// Where a check fails they stay, for whoever looks and for the next attempt.
func (m *machine) runServiceTest(ctx context.Context) error {
	checks := []namedCheck{{"pod", m.checkPod}, {"clusterip", m.checkClusterIP}, {"dns", m.checkDNS}}
	where := testPlace{}
	if !m.alone() {
		other, err := m.otherNode(ctx)
		if err != nil {
			return err
		}
		where = testPlace{here: m.node.Name, there: other}
		checks = slices.Insert(checks, 1, namedCheck{"pod-to-pod", func(ctx context.Context) (string, error) {
			return m.checkPodToPod(ctx, where)
		}})
		checks = append(checks, namedCheck{"endpoint", m.checkAPIEndpoint})
	}
	if err := m.host.wait(ctx, apiLimit, func(ctx context.Context) error { return m.startTestPod(ctx, where) }); err != nil {
		return err
	}
	result, err := m.runChecks(ctx, checks)
	if err != nil {
		return err
	}
	if !result.Passed {
		return errors.New("the service test failed: " + failedChecks(result))
	}
	m.reached("service test passed", func(s *Status, up float64) { s.Seconds.ServiceTest = up })
	return m.endServiceTest(ctx, result)
}

// runChecks runs them all and keeps how they went. Its error is the context's only.
func (m *machine) runChecks(ctx context.Context, checks []namedCheck) (ServiceTest, error) {
	result := ServiceTest{Passed: true, Checks: []Check{}}
	for _, c := range checks {
		check, err := m.check(ctx, c.name, c.try)
		if err != nil {
			return result, err
		}
		result.Checks = append(result.Checks, check)
		result.Passed = result.Passed && check.Passed
	}
	m.report.update(func(s *Status) { s.ServiceTest = &result })
	return result, nil
}

// check tries one check until its limit and says how it went. Its error is the
// context's only.
func (m *machine) check(ctx context.Context, name string, try func(context.Context) (string, error)) (Check, error) {
	var detail string
	err := m.host.wait(ctx, checkLimit, func(ctx context.Context) (err error) {
		detail, err = try(ctx)
		return err
	})
	if ctx.Err() != nil {
		return Check{}, ctx.Err()
	}
	outcome := "passed"
	if err != nil {
		outcome, detail = "failed", consoles.OneLine(err.Error())
	}
	m.console.say("check %s %s (%s)", name, outcome, detail)
	return Check{Name: name, Passed: err == nil, Detail: detail}, nil
}

func failedChecks(t ServiceTest) string {
	var failed []string
	for _, c := range t.Checks {
		if !c.Passed {
			failed = append(failed, c.Name+": "+c.Detail)
		}
	}
	return strings.Join(failed, "; ")
}

// startTestPod makes the Service and the pod behind it.
func (m *machine) startTestPod(ctx context.Context, where testPlace) error {
	client, err := m.client()
	if err != nil {
		return err
	}
	if where.there != "" {
		if _, err := removeOther(ctx, client, testNamespace+"/pods/web", "node", where.there); err != nil {
			return err
		}
	}
	return m.applyTest(ctx, client, webObjects(where))
}

// applyTest applies objects of the test, which lack their image.
func (m *machine) applyTest(ctx context.Context, client *api, text []byte) error {
	image, err := dnsImage(ctx, client)
	if err != nil {
		return err
	}
	objects, err := parseObjects("service test", bytes.ReplaceAll(text, []byte("@IMAGE@"), []byte(image)))
	if err != nil {
		return err
	}
	for _, o := range objects {
		if err := applyObject(ctx, client, o); err != nil {
			return err
		}
	}
	return nil
}

// dnsImage is that of the cluster's DNS: it is on every node.
func dnsImage(ctx context.Context, client *api) (string, error) {
	var dns struct {
		Spec struct {
			Template struct {
				Spec struct {
					Containers []struct {
						Image string `json:"image"`
					} `json:"containers"`
				} `json:"spec"`
			} `json:"template"`
		} `json:"spec"`
	}
	if err := client.get(ctx, corednsPath, &dns); err != nil {
		return "", err
	}
	containers := dns.Spec.Template.Spec.Containers
	if len(containers) == 0 {
		return "", errors.New("the deployment coredns has no container to take the image of")
	}
	return containers[0].Image, nil
}

// checkPod fetches from the pod's own address.
func (m *machine) checkPod(ctx context.Context) (string, error) {
	pod, err := m.podOfTest(ctx, "web")
	if err != nil {
		return "", err
	}
	detail, err := m.fetch(ctx, pod.Status.PodIP)
	if err == nil && !m.alone() {
		detail += ", from " + pod.Spec.NodeName
	}
	return detail, err
}

// checkClusterIP fetches from the Service's address.
func (m *machine) checkClusterIP(ctx context.Context) (string, error) {
	address, err := m.clusterIP(ctx, "imgbuild-test", "web")
	if err != nil {
		return "", err
	}
	return m.fetch(ctx, address)
}

// checkDNS asks the cluster's DNS for the Service's name and fetches from the
// address that it gives.
func (m *machine) checkDNS(ctx context.Context) (string, error) {
	name := m.webName()
	want, err := m.clusterIP(ctx, "imgbuild-test", "web")
	if err != nil {
		return "", err
	}
	detail, err := m.resolves(ctx, name, want)
	if err != nil {
		return "", err
	}
	if _, err := m.fetch(ctx, want); err != nil {
		return "", err
	}
	return detail + ", which answers", nil
}

// fetch gets the health page of the test's pod at an address.
func (m *machine) fetch(ctx context.Context, address string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	page := "http://" + hostPort(address, 8080) + "/health"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, page, nil)
	if err != nil {
		return "", err
	}
	// A connection of its own each time: each has to find its way anew.
	client := &http.Client{Transport: &http.Transport{DialContext: m.host.Dial, DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return "", fmt.Errorf("%s: %w", page, bare(err))
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: HTTP %d", page, response.StatusCode)
	}
	return address + " answers", nil
}

// endServiceTest removes what the test made, then keeps its result: a power cut
// between the two only makes the test run again.
func (m *machine) endServiceTest(ctx context.Context, result ServiceTest) error {
	client, err := m.client()
	if err != nil {
		return err
	}
	if err := client.delete(ctx, testNamespace); err != nil && !notFound(err) {
		return err
	}
	text, err := json.Marshal(result)
	if err != nil {
		return fmt.Errorf("result of the service test: %w", err)
	}
	return client.apply(ctx, testResult, object{
		"apiVersion": "v1",
		"kind":       "ConfigMap",
		"metadata":   object{"name": "imgbuild-service-test", "namespace": "kube-system"},
		"data":       object{"result": string(text)},
	})
}
