package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"imgbuild/builder"
	"imgbuild/builder/disk"
	"imgbuild/builder/manifest"
)

func newInspectCmd(a *app) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:     "inspect IMAGE",
		GroupID: groupBuild,
		Short:   "Show what is in an image and verify it against its manifest",
		Long: `Inspect reads ROLE.manifest.json beside the image, prints what the image is made
of, and verifies the file: its SHA-256, and in a raw image the partition table
and the content of every partition. It fails where anything differs.`,
		Example: `  imgbuild inspect out/master.raw
  imgbuild inspect out/master.raw -o json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "text" && output != "json" {
				return usageError{fmt.Errorf("--output %s: expected text or json", output)}
			}
			return inspect(cmd.Context(), a, args[0], output)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "text", "`text|json`")
	return cmd
}

func inspect(ctx context.Context, a *app, image, output string) error {
	dir, name := filepath.Split(image)
	role := strings.TrimSuffix(name, filepath.Ext(name))
	m, err := manifest.Read(manifest.File(dir, role))
	if err != nil {
		return fmt.Errorf("inspect %s: its manifest must be beside it: %w", image, err)
	}
	verified := verifyImage(ctx, m, image)
	if output == "json" {
		err = printJSON(a, struct {
			Verified bool              `json:"verified"`
			Reason   string            `json:"reason,omitempty"`
			Manifest manifest.Manifest `json:"manifest"`
		}{verified == nil, reason(verified), m})
	} else {
		err = printManifest(a, m, verified)
	}
	return errors.Join(err, verified)
}

func reason(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func verifyImage(ctx context.Context, m manifest.Manifest, image string) error {
	for _, f := range m.Files {
		if f.Name != filepath.Base(image) {
			continue
		}
		sum, err := sumImage(ctx, m, image, f.Format)
		if err != nil {
			return err
		}
		if sum != f.SHA256 {
			return fmt.Errorf("%s: SHA-256 is %s, its manifest has %s: it has been changed", image, sum, f.SHA256)
		}
		return nil
	}
	return fmt.Errorf("%s: its manifest does not name it", image)
}

// sumImage gives the SHA-256 of an image's file. A raw image is verified on the
// way, so that it is told what is wrong with it.
func sumImage(ctx context.Context, m manifest.Manifest, image, format string) (string, error) {
	if format == builder.FormatRaw {
		return disk.Verify(ctx, image, m.DiskUUID, m.Partitions)
	}
	return builder.SumFile(image)
}

func printManifest(a *app, m manifest.Manifest, verified error) error {
	var b strings.Builder
	p := func(format string, v ...any) { fmt.Fprintf(&b, format+"\n", v...) }
	p("role        %s", m.Role)
	p("base        %s, %d packages", m.Base, len(m.Packages))
	p("plan        %s", m.Plan)
	p("root hash   %s", m.RootHash)
	p("partitions")
	for _, w := range m.Partitions {
		p("  %-15s %6d MiB, %5d MiB used  %s", w.Name, w.Size>>20, (w.Content+1<<20-1)>>20, strings.ToLower(w.UUID))
	}
	p("components")
	for _, c := range m.Components {
		p("  %-20s %s (%s)", c.Name, c.Version, c.Source)
	}
	p("container images")
	for _, i := range m.Images {
		p("  %-50s %.19s…", i.Ref, i.Digest)
	}
	if verified == nil {
		p("verified    yes: the file is what was built")
	} else {
		p("verified    NO")
	}
	_, err := fmt.Fprint(a.Stdout, b.String())
	return err
}
