package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"imgbuild/cluster"
	"imgbuild/ignition"
)

func newSecretsCmd(a *app) *cobra.Command {
	var output, set string
	var rotate, password bool
	cmd := &cobra.Command{
		Use:     "secrets",
		GroupID: groupBuild,
		Short:   "Make or show the cluster's certificates and keys",
		Long: `Secrets makes what the cluster's machines trust each other by: the CAs of
Kubernetes, of its front proxy and of etcd, and the key of its service accounts.
They are made once and kept in CLUSTER-NAME.secrets.age beside cluster.yaml,
encrypted with age (https://age-encryption.org). Their clear text is never
written to this machine's disk.

What single nodes have of their own, which are the tokens that workers join
with, the certificates of etcd machines and registries, and the passwords of
balancers and of the registry's administrator, is derived from them whenever it
is needed. So a node may be added to cluster.yaml at any time: render its config,
and see imgbuild token.

The age identity is the file $IMGBUILD_AGE_IDENTITY, or
~/.config/imgbuild/identity.txt. It is made where there is none. Keep a copy:
nothing else decrypts the secrets.

What is printed are names, fingerprints and validity, never a key. With
--registry-password it is the password of the registry's user admin and nothing
else.

With --set the password of a service that is not ours is read from standard
input, one line, and kept with the others: registry-database, registry-redis and
registry-s3, which is the secret half of the key, of registry.external.

With --rotate all secrets but those are replaced, and the old file stays as
*.bak-N. Machines that run keep the old ones: they need a new config and a new
installation.`,
		Example: `  imgbuild secrets
  imgbuild secrets -o json
  imgbuild secrets --registry-password | docker login -u admin --password-stdin 10.77.0.51
  imgbuild secrets --set registry-database < password.txt
  imgbuild secrets --rotate`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "text" && output != "json" {
				return usageError{fmt.Errorf("--output %s: expected text or json", output)}
			}
			if rotate && password || set != "" && (rotate || password) {
				return usageError{errors.New("--rotate, --registry-password, --set: expected one of them")}
			}
			if set != "" && !slices.Contains(ignition.ExternalSecrets(), set) {
				return usageError{fmt.Errorf("--set %s: expected one of %s", set, strings.Join(ignition.ExternalSecrets(), ", "))}
			}
			c, err := a.loadCluster()
			if err != nil {
				return err
			}
			store, err := a.secretStore(c)
			if err != nil {
				return err
			}
			var secrets ignition.Secrets
			if set != "" {
				secrets, err = setSecret(cmd.Context(), store, c.Name, set, cmd.InOrStdin())
			} else {
				secrets, err = a.secrets(cmd.Context(), store, c, rotate)
			}
			if err != nil {
				return err
			}
			if password {
				return showPassword(a.Stdout, secrets)
			}
			return showSecrets(a.Stdout, store, secrets, output)
		},
	}
	cmd.Flags().BoolVar(&rotate, "rotate", false, "replace all secrets with new ones")
	cmd.Flags().BoolVar(&password, "registry-password", false, "print the password of the registry's administrator")
	cmd.Flags().StringVar(&set, "set", "", "keep the password of an external service, from standard input: `registry-database|registry-redis|registry-s3`")
	cmd.Flags().StringVarP(&output, "output", "o", "text", "`text|json`")
	return cmd
}

// secretStore is where the secrets of the cluster are.
func (a *app) secretStore(c *cluster.Cluster) (ignition.Store, error) {
	identity, err := ignition.DefaultIdentity(os.Getenv)
	if err != nil {
		return ignition.Store{}, usageError{err}
	}
	return ignition.Store{File: ignition.SecretsFile(a.clusterFile, c.Name), Identity: identity, Log: a.log}, nil
}

// secrets opens, makes or replaces the secrets, and says what it made.
func (a *app) secrets(ctx context.Context, store ignition.Store, c *cluster.Cluster, rotate bool) (ignition.Secrets, error) {
	if !rotate {
		secrets, created, err := store.OpenOrCreate(ctx, c.Name)
		if created {
			a.log.Info("made the cluster's secrets", "file", store.File)
		}
		return secrets, err
	}
	secrets, backup, err := store.Rotate(ctx, c.Name)
	if err != nil {
		return ignition.Secrets{}, err
	}
	a.log.Info("made new secrets", "file", store.File)
	if backup != "" {
		a.log.Warn("machines that run keep the old secrets: render their configs and install them again", "old", backup)
	}
	return secrets, nil
}

// setSecret keeps what somebody types, unseen, or what a file has.
func setSecret(ctx context.Context, store ignition.Store, clusterName, name string, in io.Reader) (ignition.Secrets, error) {
	var text []byte
	var err error
	if f, ok := in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		fmt.Fprintf(os.Stderr, "%s: ", name)
		text, err = term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(os.Stderr)
	} else {
		text, err = io.ReadAll(io.LimitReader(in, 1<<12))
	}
	if err != nil {
		return ignition.Secrets{}, fmt.Errorf("read %s: %w", name, err)
	}
	return store.Set(ctx, clusterName, name, ignition.Key(strings.TrimRight(string(text), "\r\n")))
}

func showPassword(w io.Writer, secrets ignition.Secrets) error {
	password, err := ignition.RegistryPassword(secrets)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(w, password)
	return err
}

// showSecrets prints what may be known of the secrets.
func showSecrets(w io.Writer, store ignition.Store, secrets ignition.Secrets, output string) error {
	items, err := secrets.Items()
	if err != nil {
		return err
	}
	hash, err := secrets.CAHash()
	if err != nil {
		return err
	}
	if output == "json" {
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		return encoder.Encode(struct {
			File    string          `json:"file"`
			Cluster string          `json:"cluster"`
			Created time.Time       `json:"created"`
			CAHash  string          `json:"caHash"`
			Secrets []ignition.Item `json:"secrets"`
		}{store.File, secrets.Cluster, secrets.Created, hash, items})
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tKIND\tVALID UNTIL\tFINGERPRINT")
	for _, item := range items {
		until := "-"
		if item.NotAfter != nil {
			until = item.NotAfter.Format(time.DateOnly)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", item.Name, item.Kind, until, cmp.Or(item.Fingerprint, "-"))
	}
	_, last := fmt.Fprintf(table, "\n%s, made %s, CA hash %s\n", store.File, secrets.Created.Format(time.DateOnly), hash)
	return errors.Join(last, table.Flush())
}
