// Package seed copies container images into the cluster's registry, by digest.
//
// It can be interrupted at any instant, and so can the registry: what is there
// already is not sent again. A registry that is away is waited for.
//
// It deliberately does not: decide which images a cluster has (package roles
// does), make them (package builder), or manage a registry: projects, users and
// garbage are its own business.
package seed

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/sys/unix"
)

// Registry is where images are copied to.
type Registry struct {
	// Host is where it is reached: a name or an address, with or without a port.
	Host string
	// Name is what images of its own are called by, of the same form.
	Name string
	// CA are certificates, PEM, that its own must be signed by; without, those
	// that everybody knows.
	CA []byte
	// User and Password let one push. Without, the credentials of docker login do.
	User, Password string
	// Harbor says that it is one, which has projects: each is made when the first
	// image comes into it, and everybody may pull from it.
	Harbor bool
	// Patience is how long an image waits for a registry that is away.
	Patience time.Duration
	Log      *slog.Logger
}

// Target is what a node will ask the registry for when it wants the image ref:
// HOST/UPSTREAM/NAME:TAG, or HOST/NAME:TAG where ref is one of its own.
func (r Registry) Target(ref string) (name.Reference, error) {
	from, err := name.ParseReference(ref)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w: expected a name such as docker.io/library/busybox:1.37", ref, err)
	}
	below := from.Context().RegistryStr() + "/"
	switch below {
	case r.Name + "/":
		below = ""
	case name.DefaultRegistry + "/":
		below = "docker.io/"
	}
	repository, err := name.NewRepository(r.Host + "/" + below + from.Context().RepositoryStr())
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", ref, err)
	}
	if digest, ok := from.(name.Digest); ok {
		return repository.Digest(digest.DigestStr()), nil
	}
	return repository.Tag(from.Identifier()), nil
}

// silence is how long a connection may wait for the other side's kernel: tcp(7),
// TCP_USER_TIMEOUT.
const silence = 20 * time.Second

// transport speaks TLS with a certificate that the registry's CA has signed, and
// nothing else: the library would try plain HTTP at private addresses, with the
// password.
func (r Registry) transport() (http.RoundTripper, error) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if len(r.CA) > 0 {
		t.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM(r.CA) {
			return nil, errors.New("the registry's CA is no certificate in PEM")
		}
	}
	// A machine that loses its power says nothing: without a limit the kernel sends
	// again for a quarter of an hour.
	t.DialContext = (&net.Dialer{Timeout: silence, Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		failed := c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(silence.Milliseconds()))
		})
		return errors.Join(failed, err)
	}}).DialContext
	// A proxy of the environment is for the internet; the registry is the cluster's.
	t.Proxy = nil
	return onlyTLS{t}, nil
}

type onlyTLS struct{ inner http.RoundTripper }

func (t onlyTLS) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" {
		return nil, fmt.Errorf("%s is not asked without TLS", r.URL.Host)
	}
	return t.inner.RoundTrip(r)
}

// options are the library's. It tries nothing again by itself: we do, and say so.
func (r Registry) options(ctx context.Context, t http.RoundTripper) []remote.Option {
	options := []remote.Option{
		remote.WithContext(ctx), remote.WithTransport(t), remote.WithUserAgent("imgbuild"),
		remote.WithRetryBackoff(remote.Backoff{Duration: time.Second, Steps: 1}),
	}
	if r.User == "" {
		// Somebody else's registry: as docker login has left it.
		return append(options, remote.WithAuthFromKeychain(authn.DefaultKeychain))
	}
	return append(options, remote.WithAuth(&authn.Basic{Username: r.User, Password: r.Password}))
}

// patiently does something again until it succeeds, fails for good, or patience
// has an end.
func (r Registry) patiently(ctx context.Context, do func(context.Context) error) error {
	until := time.Now().Add(r.Patience)
	for pause := time.Second; ; pause = min(2*pause, 15*time.Second) {
		err := do(ctx)
		if err == nil || ctx.Err() != nil {
			return errors.Join(ctx.Err(), err)
		}
		if p := new(permanent); errors.As(err, &p) {
			return p.err
		}
		if time.Now().Add(pause).After(until) {
			return fmt.Errorf("%w: given up after %s", err, r.Patience)
		}
		r.Log.Warn("waiting for the registry", "error", oneLine(err.Error()), "next", pause)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// permanent is an error that waiting does not cure.
type permanent struct{ err error }

func (p *permanent) Error() string { return p.err.Error() }
func (p *permanent) Unwrap() error { return p.err }

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
