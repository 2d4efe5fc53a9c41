package scan

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"imgbuild/builder/cache"
)

// Secrets are made at run time, so that none is in the repository, where other
// scanners would find it.

func privateKey(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "EC " + "PRIVATE KEY", Bytes: der}))
}

func ageIdentity(t *testing.T) string {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	require.NoError(t, err)
	return id.String()
}

// letters are random ones that crypt(5) and base64 have in common.
func letters(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return strings.NewReplacer("+", ".", "=", "").Replace(base64.StdEncoding.EncodeToString(b))[:n]
}

func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		file := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	}
	return dir
}

func TestPlantedSecrets(t *testing.T) {
	yescrypt := "$y$j9T$" + letters(22) + "$" + letters(43)
	sha512 := "$6$" + letters(16) + "$" + letters(86)
	hexToken, token := strings.ToLower(strings.NewReplacer("/", "0", ".", "1").Replace(letters(6))), strings.ToLower(strings.NewReplacer("/", "0", ".", "1").Replace(letters(16)))
	for name, c := range map[string]struct{ file, text, secret, want string }{
		"key":               {"/etc/tls/server.pem", privateKey(t), "", "a private key"},
		"key in YAML":       {"/usr/share/a.yaml", "data: |\n  " + strings.ReplaceAll(privateKey(t), "\n", "\n  "), "", "a private key"},
		"key in a program":  {"/usr/bin/tool", "\x7fELF\x00" + strings.Repeat("\x00", 5000) + privateKey(t) + "\x00", "", "a private key"},
		"encrypted key":     {"/etc/old.pem", strings.Replace(privateKey(t), "-----\n", "-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n", 1), "", "a private key"},
		"age identity":      {"/usr/share/key.txt", "# created: today\n" + ageIdentity(t) + "\n", "", "an age identity"},
		"kubeconfig":        {"/usr/share/admin", "    client-key-data: " + base64.StdEncoding.EncodeToString([]byte(privateKey(t))), "", "the key of a kubeconfig"},
		"bootstrap token":   {"/usr/share/join.yaml", "discovery:\n  token: " + hexToken + "." + token + "\n", token, "a bootstrap token"},
		"quoted token":      {"/usr/share/join.yaml", "  token: \"" + hexToken + "." + token + "\"\n", token, "a bootstrap token"},
		"shadow":            {"/etc/shadow", "root:*:1::::::\nadmin:" + yescrypt + ":1::::::\n", yescrypt, "a password hash of admin"},
		"old shadow":        {"/etc/shadow", "root:" + letters(13) + ":1::::::\n", "", "a password hash of root"},
		"locked, yet there": {"/etc/shadow", "root:!" + yescrypt + ":1::::::\n", yescrypt, "a password hash of root"},
		"gshadow":           {"/etc/gshadow", "wheel:" + sha512 + "::\n", sha512, "a password hash of wheel"},
		"backup of shadow":  {"/etc/shadow-", "admin:" + yescrypt + ":1::::::\n", yescrypt, "a password hash"},
		"hash in passwd":    {"/etc/passwd", "admin:" + sha512 + ":0:0::/:/bin/sh\n", sha512, "a password hash of admin"},
		"key in JSON":       {"/usr/share/a.json", `{"key":"` + strings.ReplaceAll(privateKey(t), "\n", `\n`) + `"}`, "", "a private key"},
		"JSON in JSON":      {"/usr/share/a.json", `{"key":"` + strings.ReplaceAll(privateKey(t), "\n", `\\r\\n`) + `"}`, "", "a private key"},
		"old key in JSON":   {"/usr/share/a.json", strings.ReplaceAll(strings.Replace(privateKey(t), "-----\n", "-----\nProc-Type: 4,ENCRYPTED\n\n", 1), "\n", `\n`), "", "a private key"},
		"folded YAML":       {"/usr/share/a.yaml", "key: \"" + strings.ReplaceAll(privateKey(t), "\n", "\\n\\\n  ") + "\"\n", "", "a private key"},
		"kubeconfig, JSON":  {"/usr/share/admin", `{"user":{"client-key-data":"` + base64.StdEncoding.EncodeToString([]byte(privateKey(t))) + `"}}`, "", "the key of a kubeconfig"},
		"indented JSON":     {"/usr/share/admin", `  "client-key-data" : "` + base64.StdEncoding.EncodeToString([]byte(privateKey(t))) + `"`, "", "the key of a kubeconfig"},
		"kubeconfig inside": {"/usr/share/admin", `{"config":"{\"client-key-data\":\"` + base64.StdEncoding.EncodeToString([]byte(privateKey(t))) + `\"}"}`, "", "the key of a kubeconfig"},
		"token in JSON":     {"/usr/share/join.json", `{"token": "` + hexToken + "." + token + `"}`, token, "a bootstrap token"},
		"no password":       {"/etc/shadow", "root::20000:0:99999:7:::\n", "", "an account without a password: root"},
		"none in passwd":    {"/etc/passwd", "root:x:0:0::/:/bin/sh\nguest::1000:1000::/:/bin/sh\n", "", "an account without a password: guest"},
		"machine-id":        {"/etc/machine-id", strings.Repeat("5f", 16) + "\n", strings.Repeat("5f", 16), "a machine-id"},
		"D-Bus's":           {"/var/lib/dbus/machine-id", "", "", "a machine-id"},
		"host key":          {"/etc/ssh/ssh_host_ed25519_key", "", "", "an SSH host key"},
		"public host key":   {"/etc/ssh/ssh_host_rsa_key.pub", "ssh-rsa AAAA", "AAAA", "an SSH host key"},
		"random seed":       {"/var/lib/systemd/random-seed", "", "", "a random seed"},
		"credential key":    {"/var/lib/systemd/credential.secret", "", "", "systemd's credential key"},
		"root's keys":       {"/root/.ssh/authorized_keys", "", "", "SSH files of root"},
		"build account":     {"/home/builder/.ssh/known_hosts", "", "", "SSH files of an account"},
		"PKI":               {"/etc/kubernetes/pki/ca.crt", "", "", "files of a cluster's PKI"},
		"kubelet.conf":      {"/etc/kubernetes/kubelet.conf", "", "", "a kubeconfig"},
		"node.json":         {"/etc/imgbuild/node.json", "{}", "", "the identity of a node"},
	} {
		t.Run(name, func(t *testing.T) {
			err := Tree(t.Context(), tree(t, map[string]string{c.file: c.text, "/etc/hostname": "localhost\n"}))
			require.ErrorContains(t, err, c.file+": "+c.want)
			assert.NotContains(t, err.Error(), "/etc/hostname")
			for _, secret := range append(strings.Fields(c.text), c.secret) {
				if len(secret) > 20 || secret == c.secret && secret != "" {
					assert.NotContains(t, err.Error(), secret, "a log must not hold the secret")
				}
			}
		})
	}
}

func TestEveryFindingIsNamed(t *testing.T) {
	err := Tree(t.Context(), tree(t, map[string]string{"/usr/a": privateKey(t), "/usr/b": ageIdentity(t), "/usr/c": ""}))
	assert.EqualError(t, err, "the image would hold secrets or identities, which belong into Ignition configs:\n"+
		"/usr/a: a private key\n/usr/b: an age identity")
}

// TestBlockBorder puts a key at every place where blocks meet.
func TestBlockBorder(t *testing.T) {
	key := privateKey(t)
	for _, at := range []int{
		0, block - len(key), block - 40, block, block + overlap - len(key), block + overlap - 100,
		block + overlap - 40, block + overlap - 1, block + overlap, 2*block + overlap - 40, 2*block + overlap,
	} {
		b := &strings.Builder{}
		b.WriteString(strings.Repeat("\x00", at))
		b.WriteString(key)
		b.WriteString(strings.Repeat("\x00", 100))
		what, err := stream(strings.NewReader(b.String()), make([]byte, 0, block+overlap))
		require.NoError(t, err)
		assert.Equal(t, "a private key", what, "key at %d", at)
	}
}

func TestCleanTree(t *testing.T) {
	dir := tree(t, map[string]string{
		"/etc/machine-id": "uninitialized\n",
		"/etc/shadow":     "root:*:1::::::\nsshd:!:1::::::\ngetty:!*:1::::::\n",
		"/etc/gshadow":    "root:*::\nnogroup:!::\nempty:::\n",
		"/etc/passwd":     "root:x:0:0:root:/root:/bin/bash\nlocked:*:1:1::/:/bin/sh\n",
		"/etc/shadow-":    "root:*:1::::::\n",
		// What programs and documents say about keys.
		"/usr/bin/kubeadm":         "\x00-----BEGIN " + "RSA PRIVATE KEY-----\x00-----BEGIN " + "CERTIFICATE-----\x00AGE-SECRET-KEY-1\x00client-key-data:\x00token:\x00\"token\":\"%s\"\x00\"client-key-data\":\"\"",
		"/usr/share/x.go":          "const begin = \"-----BEGIN " + "PRIVATE KEY-----\"\nif bytes.HasPrefix(data, []byte(begin)) { return parsePrivateKeyOfTheKindThatIsNamedByTheArgument(data) }\n",
		"/usr/share/doc/README":    "-----BEGIN " + "PRIVATE KEY-----\n...\n-----END " + "PRIVATE KEY-----\nclient-key-data: REDACTED\ntoken: abcdef.{secret}\n",
		"/etc/kubernetes/.keep":    "",
		"/etc/ssh/sshd_config":     "HostKey /etc/ssh/ssh_host_ed25519_key\n",
		"/etc/ssl/certs/ca.pem":    string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: make([]byte, 300)})),
		"/usr/share/empty":         "",
		"/usr/lib/large":           strings.Repeat("a", block+overlap+1),
		"/usr/lib/exactly-one":     strings.Repeat("a", block+overlap),
		"/usr/share/public.pem":    string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: make([]byte, 300)})),
		"/usr/share/recipient.txt": "age1" + strings.Repeat("q", 58),
	})
	// Of the running system: not there in an image, and not to be followed.
	require.NoError(t, os.Symlink("/etc/shadow", filepath.Join(dir, "etc/link")))
	require.NoError(t, os.Symlink("/nowhere", filepath.Join(dir, "etc/ssh/dangling")))
	assert.NoError(t, Tree(t.Context(), dir))
}

func TestScanStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	assert.ErrorIs(t, Tree(ctx, tree(t, map[string]string{"/a": ""})), context.Canceled)
}

// TestLayer remembers a clean layer and never one that was not.
func TestLayer(t *testing.T) {
	s := Scanner{Cache: cache.Cache{Root: t.TempDir()}}
	dir := tree(t, map[string]string{"/etc/imgbuild/node.json": "{}"})
	assert.Error(t, s.Layer(t.Context(), dir, "key"))
	assert.Error(t, s.Layer(t.Context(), dir, "key"), "found again")
	require.NoError(t, os.Remove(filepath.Join(dir, "etc/imgbuild/node.json")))
	require.NoError(t, s.Layer(t.Context(), dir, "key"))
	require.NoError(t, os.RemoveAll(dir))
	assert.NoError(t, s.Layer(t.Context(), dir, "key"), "a clean layer is not read again")
	assert.Error(t, s.Layer(t.Context(), dir, "other key"))
}
