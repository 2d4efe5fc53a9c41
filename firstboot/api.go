package firstboot

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// fieldManager owns what the agent applies.
const fieldManager = "imgbuild"

// The content types of PATCH: kubernetes.io, "API concepts".
const (
	applyPatch = "application/apply-patch+yaml"
	mergePatch = "application/merge-patch+json"
)

// api is a client of one API server: the few requests that the agent makes.
type api struct {
	server string
	http   *http.Client
}

// apiError is an answer that is no success.
type apiError struct {
	Code    int
	Message string
}

func (e apiError) Error() string { return fmt.Sprintf("%s (HTTP %d)", e.Message, e.Code) }

// notFound says whether the API has answered that something does not exist.
func notFound(err error) bool {
	var e apiError
	return errors.As(err, &e) && e.Code == http.StatusNotFound
}

// client talks to the API server of this node as admin.conf says. The load
// balancer is not asked: it may come up later than we do.
func (m *machine) client() (*api, error) {
	data, err := m.host.read(adminConf)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", adminConf, reason(err))
	}
	if m.api != nil && m.apiKey == string(data) {
		return m.api, nil
	}
	ca, err := m.host.readCertificate(pki + "/ca.crt")
	if err != nil {
		return nil, err
	}
	who, err := m.host.readKubeconfig(adminConf, ca)
	if err != nil {
		return nil, fmt.Errorf("%s %w", adminConf, err)
	}
	m.apiKey = string(data)
	m.api = newAPI("https://"+hostPort(m.node.Address, apiPort), who, m.host.Dial)
	return m.api, nil
}

func newAPI(server string, who credentials, dial func(context.Context, string, string) (net.Conn, error)) *api {
	return &api{server: server, http: &http.Client{
		Timeout: 15 * time.Second,
		Transport: &http.Transport{
			DialContext: dial,
			TLSClientConfig: &tls.Config{
				RootCAs:      who.ca,
				Certificates: []tls.Certificate{who.client},
				MinVersion:   tls.VersionTLS12,
			},
			IdleConnTimeout: time.Minute,
		},
	}}
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

func (a *api) delete(ctx context.Context, path string) error {
	return a.do(ctx, http.MethodDelete, path, "", nil, nil)
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
	request.Header.Set("Accept", "application/json")
	if body != nil {
		request.Header.Set("Content-Type", contentType)
	}
	response, err := a.http.Do(request)
	if err != nil {
		return fmt.Errorf("the API at %s: %w", a.server, bare(err))
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
