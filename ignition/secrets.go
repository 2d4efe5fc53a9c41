package ignition

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"time"
)

// secretsVersion is the only accepted value of the field version.
const secretsVersion = "imgbuild/secrets/v1"

// Secrets are all of one cluster. They are never printed: see Key.
type Secrets struct {
	Version string `json:"version"`
	// Cluster is the name in cluster.yaml.
	Cluster string `json:"cluster"`
	// Created is when they were made, whole seconds.
	Created time.Time `json:"created"`
	// CA signs what the API server, its clients and the kubelets present.
	CA Pair `json:"ca"`
	// FrontProxyCA signs what the API server presents to its extensions.
	FrontProxyCA Pair `json:"frontProxyCA"`
	// EtcdCA signs what etcd's members and clients present.
	EtcdCA Pair `json:"etcdCA"`
	// EtcdClient is the API servers' certificate where etcd has machines of its
	// own, and the masters therefore no EtcdCA key to make it with.
	EtcdClient Pair `json:"etcdClient"`
	// ServiceAccount signs the tokens of pods.
	ServiceAccount SigningKey `json:"serviceAccount"`
	// RegistryToken signs the tokens of Harbor, RSA in PKCS #8: Harbor takes no
	// other, and all its instances must have the same.
	RegistryToken Key `json:"registryToken,omitempty"`
	// External are those of services that are not ours, by ExternalSecrets. They
	// are given to us, see Store.Set.
	External map[string]Key `json:"external,omitempty"`
}

// Pair is a certificate and its key, both PEM.
type Pair struct {
	Certificate string `json:"certificate"`
	Key         Key    `json:"key"`
}

// SigningKey is a key pair without a certificate, both PEM.
type SigningKey struct {
	Public string `json:"public"`
	Key    Key    `json:"key"`
}

// Key is a private key, PEM, or somebody's password. It hides itself wherever it is printed or logged;
// convert it to a string to write it where it belongs.
type Key string

const hidden = "[secret]"

// Format hides the key from all of fmt's verbs.
func (Key) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, hidden) }

// LogValue hides the key from log/slog.
func (Key) LogValue() slog.Value { return slog.StringValue(hidden) }

// LogValue keeps log handlers, which encode structs as JSON, away from the keys.
func (s Secrets) LogValue() slog.Value { return slog.StringValue("secrets of cluster " + s.Cluster) }

// LogValue is the certificate without its key.
func (p Pair) LogValue() slog.Value { return slog.StringValue(p.Certificate) }

// LogValue is the public half.
func (k SigningKey) LogValue() slog.Value { return slog.StringValue(k.Public) }

// Item is what may be known of one of the secrets.
type Item struct {
	Name string `json:"name"`
	// Kind is "CA", "certificate", "key pair" or "password".
	Kind string `json:"kind"`
	// Fingerprint is sha256:<hex>, of the certificate's DER or the public key's. A
	// password has none: whoever has it could find the password by trying.
	Fingerprint string `json:"fingerprint,omitempty"`
	// NotBefore and NotAfter are missing for what does not expire.
	NotBefore *time.Time `json:"notBefore,omitempty"`
	NotAfter  *time.Time `json:"notAfter,omitempty"`
}

// Items lists the secrets without their keys.
func (s Secrets) Items() ([]Item, error) {
	var items []Item
	for _, p := range s.pairs() {
		cert, err := p.pair.certificate()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		kind := "certificate"
		if cert.IsCA {
			kind = "CA"
		}
		items = append(items, Item{p.name, kind, fingerprint(cert.Raw), &cert.NotBefore, &cert.NotAfter})
	}
	block, _ := pem.Decode([]byte(s.ServiceAccount.Public))
	if block == nil {
		return nil, errors.New("service-account: the public key is not PEM")
	}
	items = append(items, Item{Name: "service-account", Kind: "key pair", Fingerprint: fingerprint(block.Bytes)})
	if s.RegistryToken != "" {
		token, err := s.registryTokenItem()
		if err != nil {
			return nil, fmt.Errorf("registry-token: %w", err)
		}
		items = append(items, token)
	}
	for _, name := range slices.Sorted(maps.Keys(s.External)) {
		items = append(items, Item{Name: name, Kind: "password"})
	}
	return items, nil
}

func (s Secrets) registryTokenItem() (Item, error) {
	key, err := s.RegistryToken.parseRSA()
	if err != nil {
		return Item{}, err
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	return Item{Name: "registry-token", Kind: "key pair", Fingerprint: fingerprint(der)}, err
}

// CAHash is kubeadm's discovery pin of the cluster's CA: sha256:<hex> of its
// SubjectPublicKeyInfo.
func (s Secrets) CAHash() (string, error) {
	cert, err := s.CA.certificate()
	if err != nil {
		return "", fmt.Errorf("kubernetes-ca: %w", err)
	}
	return fingerprint(cert.RawSubjectPublicKeyInfo), nil
}

type namedPair struct {
	name string
	pair Pair
}

func (s Secrets) pairs() []namedPair {
	return []namedPair{
		{"kubernetes-ca", s.CA},
		{"front-proxy-ca", s.FrontProxyCA},
		{"etcd-ca", s.EtcdCA},
		{"apiserver-etcd-client", s.EtcdClient},
	}
}

// check reports the first secret that is missing, damaged or does not fit.
func (s Secrets) check() error {
	if s.Version != secretsVersion {
		return fmt.Errorf("version %q: expected %s", s.Version, secretsVersion)
	}
	for _, p := range s.pairs() {
		cert, err := p.pair.certificate()
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		key, err := p.pair.Key.parse()
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		if !key.PublicKey.Equal(cert.PublicKey) {
			return fmt.Errorf("%s: the key is not the certificate's", p.name)
		}
	}
	key, err := s.ServiceAccount.Key.parse()
	if err != nil {
		return fmt.Errorf("service-account: %w", err)
	}
	public, err := publicPEM(key)
	if err != nil || public != s.ServiceAccount.Public {
		return errors.New("service-account: the public key is not the private one's")
	}
	if s.RegistryToken == "" {
		return nil // made by an imgbuild that knew nothing of Harbor
	}
	if _, err := s.RegistryToken.parseRSA(); err != nil {
		return fmt.Errorf("registry-token: %w", err)
	}
	return nil
}

func (p Pair) certificate() (*x509.Certificate, error) {
	block, _ := pem.Decode([]byte(p.Certificate))
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("the certificate is missing or not PEM")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("the certificate is damaged: %w", err)
	}
	return cert, nil
}

// parse never repeats any of the key in its error.
func (k Key) parse() (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode([]byte(k))
	if block == nil || block.Type != "EC PRIVATE KEY" {
		return nil, errors.New("the private key is missing or not an EC key in PEM")
	}
	key, err := x509.ParseECPrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("the private key is damaged")
	}
	return key, nil
}

// parseRSA is parse for an RSA key.
func (k Key) parseRSA() (*rsa.PrivateKey, error) {
	block, _ := pem.Decode([]byte(k))
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, errors.New("the private key is missing or not PKCS #8 in PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("the private key is damaged")
	}
	private, ok := key.(*rsa.PrivateKey)
	if !ok {
		return nil, errors.New("the private key is not an RSA key")
	}
	return private, nil
}

func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return "sha256:" + hex.EncodeToString(sum[:])
}
