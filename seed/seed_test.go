package seed

import (
	"bytes"
	"context"
	"encoding/pem"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const testPassword = "not-a-real-password"

// server is a registry that wants a password to push, over TLS.
type server struct {
	Registry
	// answer, where it returns true, has answered in the registry's place.
	answer atomic.Pointer[func(w http.ResponseWriter, r *http.Request) bool]
	// blobs counts the uploads that were begun.
	blobs atomic.Int32
	said  *bytes.Buffer
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{said: &bytes.Buffer{}}
	real := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	web := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if answer := s.answer.Load(); answer != nil && (*answer)(w, r) {
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead || r.URL.Path == "/v2/" {
			if user, password, _ := r.BasicAuth(); user != "admin" || password != testPassword {
				w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
		}
		if r.Method == http.MethodPost {
			s.blobs.Add(1)
		}
		real.ServeHTTP(w, r)
	}))
	web.Config.ErrorLog = log.New(io.Discard, "", 0)
	web.StartTLS()
	t.Cleanup(web.Close)
	s.Registry = Registry{
		Host: strings.TrimPrefix(web.URL, "https://"), Name: "registry.example.com", User: "admin", Password: testPassword,
		CA:       pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw}),
		Patience: time.Minute, Log: slog.New(slog.NewTextHandler(s.said, nil)),
	}
	return s
}

func (s *server) answers(answer func(w http.ResponseWriter, r *http.Request) bool) {
	s.answer.Store(&answer)
}

// newLayout is a folder with an image of three layers.
func newLayout(t *testing.T) (string, v1.Image) {
	t.Helper()
	image, err := random.Image(4096, 2)
	require.NoError(t, err)
	// Not compressed, as those of the images that we make ourselves.
	image, err = mutate.AppendLayers(image, static.NewLayer([]byte("a layer"), types.OCIUncompressedLayer))
	require.NoError(t, err)
	dir := t.TempDir()
	p, err := layout.Write(dir, empty.Index)
	require.NoError(t, err)
	require.NoError(t, p.AppendImage(image))
	return dir, image
}

func TestTarget(t *testing.T) {
	r := Registry{Host: "10.77.0.51:443", Name: "registry.example.com"}
	for ref, want := range map[string]string{
		"registry.k8s.io/pause:3.10.2":            "10.77.0.51:443/registry.k8s.io/pause:3.10.2",
		"registry.k8s.io/coredns/coredns:v1.14.2": "10.77.0.51:443/registry.k8s.io/coredns/coredns:v1.14.2",
		"busybox:1.37":                                                 "10.77.0.51:443/docker.io/library/busybox:1.37",
		"docker.io/library/busybox:1.37":                               "10.77.0.51:443/docker.io/library/busybox:1.37",
		"registry.example.com/team/app:1":                              "10.77.0.51:443/team/app:1",
		"quay.io/ceph/ceph@sha256:" + strings.Repeat("ab", 32):         "10.77.0.51:443/quay.io/ceph/ceph@sha256:" + strings.Repeat("ab", 32),
		"quay.io/ceph/ceph:v19.2.3@sha256:" + strings.Repeat("cd", 32): "10.77.0.51:443/quay.io/ceph/ceph@sha256:" + strings.Repeat("cd", 32),
	} {
		got, err := r.Target(ref)
		require.NoError(t, err, ref)
		assert.Equal(t, want, got.Name())
	}
	_, err := r.Target("Not An Image")
	assert.ErrorContains(t, err, "image Not An Image: ")
	assert.ErrorContains(t, err, "expected a name such as docker.io/library/busybox:1.37")
}

// What is pushed has the digest that it had, and is not sent a second time.
func TestPushAndVerify(t *testing.T) {
	s := newServer(t)
	dir, image := newLayout(t)
	img := Image{Ref: "registry.k8s.io/app:1", Layout: dir}
	pushed, err := s.Push(t.Context(), img, nil)
	require.NoError(t, err)
	digest, err := image.Digest()
	require.NoError(t, err)
	assert.Equal(t, Pushed{Ref: img.Ref, As: s.Host + "/registry.k8s.io/app:1", Digest: digest.String()}, pushed)
	require.NoError(t, s.Verify(t.Context(), pushed))

	first := s.blobs.Load()
	assert.EqualValues(t, 4, first, "three layers and a configuration")
	_, err = s.Push(t.Context(), img, nil)
	require.NoError(t, err)
	assert.Equal(t, first, s.blobs.Load(), "nothing is sent again")

	// A registry that gives other bytes than it was given.
	layers, err := image.Layers()
	require.NoError(t, err)
	layer, err := layers[1].Digest()
	require.NoError(t, err)
	size, err := layers[1].Size()
	require.NoError(t, err)
	s.answers(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/blobs/"+layer.String()) {
			return false
		}
		_, err := w.Write(make([]byte, size))
		return assert.NoError(t, err)
	})
	err = s.Verify(t.Context(), pushed)
	assert.ErrorContains(t, err, "verify registry.k8s.io/app:1: layer "+layer.String()+": error verifying")
	assert.ErrorContains(t, err, "push it again")

	pushed.Digest = "sha256:" + strings.Repeat("00", 32)
	assert.ErrorContains(t, s.Verify(t.Context(), pushed), "verify registry.k8s.io/app:1: the registry has "+digest.String())
}

// A registry that goes away in the middle of a push is waited for, and the push
// goes on with what is missing.
func TestARegistryThatIsAwayForAWhile(t *testing.T) {
	s := newServer(t)
	dir, _ := newLayout(t)
	var uploads, refused atomic.Int32
	s.answers(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPost {
			uploads.Add(1)
		}
		if uploads.Load() < 3 || refused.Load() >= 2 {
			return false
		}
		if r.URL.Path == "/v2/" {
			refused.Add(1)
		}
		// As of a machine that loses its power.
		connection, _, err := w.(http.Hijacker).Hijack()
		assert.NoError(t, err)
		connection.Close()
		return true
	})
	pushed, err := s.Push(t.Context(), Image{Ref: "registry.k8s.io/app:1", Layout: dir}, nil)
	require.NoError(t, err)
	require.NoError(t, s.Verify(t.Context(), pushed))
	assert.EqualValues(t, 2, refused.Load())
	assert.Contains(t, s.said.String(), "waiting for the registry")
}

func TestWhatIsWrongWithARegistry(t *testing.T) {
	dir, _ := newLayout(t)
	img := Image{Ref: "registry.k8s.io/app:1", Layout: dir}
	status := func(code int) func(*server) {
		return func(s *server) {
			s.Patience = 0
			s.answers(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(code); return true })
		}
	}
	for name, c := range map[string]struct {
		change func(*server)
		want   string
	}{
		"wrong password":      {func(s *server) { s.Password = "another" }, "does not take the password of admin (HTTP 401): its node was installed with other secrets than these"},
		"wrong CA":            {func(s *server) { s.CA = nil }, "shows a certificate that is not the cluster's registry's: x509: certificate signed by unknown authority: install its node with a config of these secrets, or give its CA"},
		"an error of its own": {status(http.StatusInternalServerError), "500 Internal Server Error: see journalctl -u registry on its node: given up after 0s"},
		"a full disk":         {status(http.StatusInsufficientStorage), "its disk is full (HTTP 507)"},
		"nobody there":        {func(s *server) { s.Host, s.Patience = "127.0.0.1:1", 0 }, "connection refused: given up after 0s"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			c.change(s)
			_, err := s.Push(t.Context(), img, nil)
			require.ErrorContains(t, err, "push registry.k8s.io/app:1: registry "+s.Host)
			assert.ErrorContains(t, err, c.want)
			assert.NotContains(t, err.Error(), testPassword)
			assert.NotContains(t, s.said.String(), testPassword)
		})
	}
}

// The library would try plain HTTP where TLS fails, at a private address.
func TestThePasswordIsNotSentWithoutTLS(t *testing.T) {
	plain := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("asked for %s", r.URL) }))
	defer plain.Close()
	s := newServer(t)
	s.Host, s.Patience = strings.TrimPrefix(plain.URL, "http://"), 0
	dir, _ := newLayout(t)
	_, err := s.Push(t.Context(), Image{Ref: "registry.k8s.io/app:1", Layout: dir}, nil)
	assert.ErrorContains(t, err, "first record does not look like a TLS handshake")
}

func TestAFolderThatIsNoLayout(t *testing.T) {
	s := newServer(t)
	_, err := s.Push(t.Context(), Image{Ref: "registry.k8s.io/app:1", Layout: t.TempDir()}, nil)
	assert.ErrorContains(t, err, "OCI layout ")

	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "index.json"), []byte(`{"schemaVersion":2,"manifests":[]}`), 0o600))
	_, err = s.Push(t.Context(), Image{Ref: "registry.k8s.io/app:1", Layout: dir}, nil)
	assert.ErrorContains(t, err, "holds 0 images, expected one")
}

func TestAnInterruptedPushEndsAtOnce(t *testing.T) {
	s := newServer(t)
	dir, _ := newLayout(t)
	ctx, cancel := context.WithCancel(t.Context())
	s.answers(func(w http.ResponseWriter, _ *http.Request) bool {
		cancel()
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	})
	_, err := s.Push(ctx, Image{Ref: "registry.k8s.io/app:1", Layout: dir}, nil)
	assert.ErrorIs(t, err, context.Canceled)
}
