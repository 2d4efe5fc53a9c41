package firstboot

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"imgbuild/cluster/node"
)

// fieldManager owns what the agent applies.
const fieldManager = "imgbuild"

// The content types of PATCH: kubernetes.io, "API concepts".
const (
	applyPatch = "application/apply-patch+yaml"
	mergePatch = "application/merge-patch+json"
	plainJSON  = "application/json"
)

// api is a client of one API server: the few requests that the agent makes.
type api struct {
	what   string // for messages
	server string
	bearer string
	http   *http.Client
	// resources are the kinds of groups that were asked for, see resource.
	resources map[string][]apiResource
}

// apiError is an answer that is no success.
type apiError struct {
	Code    int
	Message string
}

func (e apiError) Error() string { return fmt.Sprintf("%s (HTTP %d)", e.Message, e.Code) }

// answered says whether the API has answered with this code.
func answered(err error, code int) bool {
	var e apiError
	return errors.As(err, &e) && e.Code == code
}

// notFound says whether the API has answered that something does not exist.
func notFound(err error) bool { return answered(err, http.StatusNotFound) }

// client talks to the API as this node. A master asks its own API server as
// admin.conf says, since the load balancer may come up later than we do; every
// other node asks at the endpoint, as its kubelet does.
func (m *machine) client() (*api, error) {
	file, server := adminConf, hostPort(m.node.Address, apiPort)
	if m.node.Role != roleMaster {
		file, server = kubeletConf, m.endpoint()
	}
	data, err := m.host.read(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, reason(err))
	}
	if m.api != nil && m.apiKey == string(data) {
		return m.api, nil
	}
	ca, err := m.clusterCA()
	if err != nil {
		return nil, err
	}
	who, err := m.host.readKubeconfig(file, ca)
	if err != nil {
		return nil, fmt.Errorf("%s %w", file, err)
	}
	m.apiKey, m.who = string(data), who
	m.api = newAPI("https://"+server, who, m.host.Dial)
	return m.api, nil
}

// endpoint is where the API of the whole cluster is reached.
func (m *machine) endpoint() string { return hostPort(m.node.Endpoint.Host, m.node.Endpoint.Port) }

// clusterCA is the certificate that Ignition delivered.
func (m *machine) clusterCA() (*x509.Certificate, error) {
	if m.node.Role == roleMaster {
		return m.host.readCertificate(pki + "/ca.crt")
	}
	return m.host.readCertificate(node.CAPath)
}

// newAPI is a client that shows the certificate of who. One without shows a
// token, which must then be set.
func newAPI(server string, who credentials, dial func(context.Context, string, string) (net.Conn, error)) *api {
	return &api{what: "the API", server: server, http: newHTTP(who, dial), resources: map[string][]apiResource{}}
}

// newHTTP is a client of TLS servers that the CA of who has signed.
func newHTTP(who credentials, dial func(context.Context, string, string) (net.Conn, error)) *http.Client {
	config := &tls.Config{RootCAs: who.ca, MinVersion: tls.VersionTLS12}
	if who.client.Certificate != nil {
		config.Certificates = []tls.Certificate{who.client}
	}
	return &http.Client{
		Timeout:   15 * time.Second,
		Transport: &http.Transport{DialContext: dial, TLSClientConfig: config, IdleConnTimeout: time.Minute},
	}
}

// get reads an object into out, which may be nil.
func (a *api) get(ctx context.Context, path string, out any) error {
	return a.do(ctx, http.MethodGet, path, "", nil, out)
}

// apply makes an object be as the body says, whoever else has set its fields.
func (a *api) apply(ctx context.Context, path string, body any) error {
	return a.do(ctx, http.MethodPatch, path+"?fieldManager="+fieldManager+"&force=true", applyPatch, body, nil)
}

// merge changes single fields of an object.
func (a *api) merge(ctx context.Context, path string, body any) error {
	return a.do(ctx, http.MethodPatch, path+"?fieldManager="+fieldManager, mergePatch, body, nil)
}

// create makes an object; one that is there already is a conflict.
func (a *api) create(ctx context.Context, path string, body any) error {
	return a.do(ctx, http.MethodPost, path, plainJSON, body, nil)
}

// ask posts a question and reads the answer.
func (a *api) ask(ctx context.Context, path string, question, answer any) error {
	return a.do(ctx, http.MethodPost, path, plainJSON, question, answer)
}

// replace puts an object in the place of the version that it names.
func (a *api) replace(ctx context.Context, path string, body any) error {
	return a.do(ctx, http.MethodPut, path, plainJSON, body, nil)
}

func (a *api) delete(ctx context.Context, path string) error {
	return a.do(ctx, http.MethodDelete, path, "", nil, nil)
}

// deleteVersion deletes an object unless it has changed since it was read.
func (a *api) deleteVersion(ctx context.Context, path, version string) error {
	return a.do(ctx, http.MethodDelete, path, plainJSON, object{
		"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": object{"resourceVersion": version},
	}, nil)
}

func (a *api) do(ctx context.Context, method, path, contentType string, body, out any) error {
	var payload io.Reader
	if body != nil {
		data, err := json.Marshal(body) // JSON is YAML
		if err != nil {
			return fmt.Errorf("%s %s: %w", method, path, err)
		}
		payload = bytes.NewReader(data)
	}
	request, err := http.NewRequestWithContext(ctx, method, a.server+path, payload)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	request.Header.Set("Accept", plainJSON)
	if a.bearer != "" {
		request.Header.Set("Authorization", "Bearer "+a.bearer)
	}
	if body != nil {
		request.Header.Set("Content-Type", contentType)
	}
	response, err := a.http.Do(request)
	if err != nil {
		return fmt.Errorf("%s at %s: %w", a.what, a.server, bare(err))
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, 32<<20))
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if response.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %w", method, path, apiError{response.StatusCode, statusMessage(data, response.Status)})
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	return nil
}

// statusMessage is what the API says of a failure: it answers with a Status, or
// on /readyz with a list of its checks, in which "[-]NAME …" has failed.
func statusMessage(data []byte, otherwise string) string {
	var status struct {
		Message string `json:"message"`
		Reason  string `json:"reason"`
	}
	if json.Unmarshal(data, &status) == nil {
		switch {
		case status.Message != "":
			return status.Message
		case status.Reason != "": // etcd's /health
			return status.Reason
		}
	}
	var failed []string
	for line := range strings.Lines(string(data)) {
		if check, ok := strings.CutPrefix(line, "[-]"); ok {
			name, _, _ := strings.Cut(strings.TrimSpace(check), " ")
			failed = append(failed, name)
		}
	}
	if failed != nil {
		return "not ready yet: " + strings.Join(failed, ", ")
	}
	return otherwise
}

// bare takes the method and URL off an HTTP client's error.
func bare(err error) error {
	var e *url.Error
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}
