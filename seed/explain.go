package seed

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// check asks the registry whether it is one, that is ours and answers, before
// anything is sent.
func (r Registry) check(ctx context.Context, t http.RoundTripper) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+r.Host+"/v2/", nil)
	if err != nil {
		return &permanent{err}
	}
	if r.User != "" {
		request.SetBasicAuth(r.User, r.Password)
	}
	response, err := t.RoundTrip(request)
	if err != nil {
		return r.explain(err)
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(response.Body, 1<<16)); err != nil {
		return r.explain(err)
	}
	// Harbor wants a token instead of the password here; one that is wrong shows
	// when the token is asked for.
	token := strings.HasPrefix(strings.ToLower(response.Header.Get("WWW-Authenticate")), "bearer")
	if response.StatusCode == http.StatusOK || response.StatusCode == http.StatusUnauthorized && (token || r.User == "") {
		return nil
	}
	return r.explain(&transport.Error{StatusCode: response.StatusCode})
}

// explain says what is wrong with the registry and what to do, and whether
// waiting may cure it.
func (r Registry) explain(err error) error {
	var unverified *tls.CertificateVerificationError
	var answer *transport.Error
	if failed := new(url.Error); errors.As(err, &failed) {
		// Not with its URL: those of uploads are long.
		err = failed.Err
	}
	switch {
	case errors.As(err, &unverified):
		return &permanent{fmt.Errorf("registry %s shows a certificate that is not the cluster's registry's: %w: install its node with a config of these secrets, or give its CA", r.Host, unverified.Err)}
	case errors.As(err, new(x509.HostnameError)):
		return &permanent{fmt.Errorf("registry %s: %w", r.Host, err)}
	case !errors.As(err, &answer):
		return fmt.Errorf("registry %s: %w", r.Host, err)
	}
	switch code := answer.StatusCode; {
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		if r.User == "" {
			return &permanent{fmt.Errorf("registry %s wants a password (HTTP %d): docker login %s", r.Host, code, r.Host)}
		}
		return &permanent{fmt.Errorf("registry %s does not take the password of %s (HTTP %d): its node was installed with other secrets than these", r.Host, r.User, code)}
	case code == http.StatusInsufficientStorage:
		return &permanent{fmt.Errorf("registry %s: its disk is full (HTTP %d)", r.Host, code)}
	case code >= 500 || code == http.StatusTooManyRequests || code == http.StatusRequestTimeout:
		return fmt.Errorf("registry %s: %w: see journalctl -u registry on its node", r.Host, answer)
	}
	return &permanent{fmt.Errorf("registry %s: %w", r.Host, answer)}
}
