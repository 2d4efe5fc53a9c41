package firstboot

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"sigs.k8s.io/yaml"
)

// kubeconfig is the part of a kubeconfig file that kubeadm writes. The fields
// of bytes are base64 in the file.
type kubeconfig struct {
	CurrentContext string `json:"current-context"`
	Clusters       []struct {
		Cluster struct {
			Server string `json:"server"`
			CA     []byte `json:"certificate-authority-data"`
		} `json:"cluster"`
	} `json:"clusters"`
	Users []struct {
		User struct {
			Certificate     []byte `json:"client-certificate-data"`
			Key             []byte `json:"client-key-data"`
			CertificateFile string `json:"client-certificate"`
			KeyFile         string `json:"client-key"`
		} `json:"user"`
	} `json:"users"`
}

// credentials are what a kubeconfig gives its owner: whom to trust, and who it is.
type credentials struct {
	ca     *x509.CertPool
	client tls.Certificate
}

// readKubeconfig loads a kubeconfig of the node and checks that it belongs to
// the cluster of ca, as far as that can be said without the API.
func (h *Host) readKubeconfig(name string, ca *x509.Certificate) (credentials, error) {
	data, err := h.read(name)
	if err != nil {
		return credentials{}, reason(err)
	}
	var k kubeconfig
	if len(bytes.TrimSpace(data)) == 0 {
		return credentials{}, errors.New("is empty")
	}
	if err := yaml.Unmarshal(data, &k); err != nil {
		return credentials{}, errors.New("is not a kubeconfig") // the text may hold a key
	}
	if k.CurrentContext == "" || len(k.Clusters) != 1 || len(k.Users) != 1 || k.Clusters[0].Cluster.Server == "" {
		return credentials{}, errors.New("is not a complete kubeconfig")
	}
	if own, err := parseCertificate(k.Clusters[0].Cluster.CA); err != nil || !own.Equal(ca) {
		return credentials{}, errors.New("has not the cluster's CA")
	}
	user := k.Users[0].User
	// The kubelet's own rotated pair is a file beside.
	if user.CertificateFile != "" {
		if user.Certificate, err = h.read(user.CertificateFile); err != nil {
			return credentials{}, fmt.Errorf("needs %s: %w", user.CertificateFile, reason(err))
		}
		if user.Key, err = h.read(user.KeyFile); err != nil {
			return credentials{}, fmt.Errorf("needs %s: %w", user.KeyFile, reason(err))
		}
	}
	pair, err := checkPair(user.Certificate, user.Key, ca)
	if err != nil {
		return credentials{}, fmt.Errorf("client certificate: %w", err)
	}
	return credentials{ca: poolOf(ca), client: pair}, nil
}

// checkPair wants a certificate and its key that the CA has signed.
func checkPair(certificate, key []byte, ca *x509.Certificate) (tls.Certificate, error) {
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return pair, errors.New("is not a certificate with its key")
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return pair, errors.New("is not a certificate")
	}
	if err := leaf.CheckSignatureFrom(ca); err != nil {
		return pair, errors.New("is not signed by the CA that is on this node")
	}
	return pair, nil
}

func (h *Host) readCertificate(name string) (*x509.Certificate, error) {
	data, err := h.read(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, reason(err))
	}
	cert, err := parseCertificate(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return cert, nil
}

// parseCertificate reads the first block of PEM.
func parseCertificate(data []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("is not a certificate in PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}
