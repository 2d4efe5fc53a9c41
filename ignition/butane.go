package ignition

import (
	"errors"
	"fmt"

	"github.com/coreos/butane/config/common"
	flatcar "github.com/coreos/butane/config/flatcar/v1_1"
	"gopkg.in/yaml.v3"
)

// butane is the part of a Butane config that nodes need:
// https://coreos.github.io/butane/config-flatcar-v1_1/
type butane struct {
	Variant string        `yaml:"variant"`
	Version string        `yaml:"version"`
	Storage butaneStorage `yaml:"storage"`
	Systemd butaneSystemd `yaml:"systemd,omitempty"`
}

type butaneStorage struct {
	Directories []butaneDirectory `yaml:"directories,omitempty"`
	Files       []butaneFile      `yaml:"files"`
}

type butaneDirectory struct {
	Path string    `yaml:"path"`
	Mode octalMode `yaml:"mode"`
}

type butaneFile struct {
	Path string    `yaml:"path"`
	Mode octalMode `yaml:"mode"`
	// Overwrite replaces what the image has at Path, such as /etc/hosts.
	Overwrite bool           `yaml:"overwrite"`
	Contents  butaneContents `yaml:"contents"`
}

type butaneContents struct {
	Inline string `yaml:"inline"`
}

type butaneSystemd struct {
	Units []butaneUnit `yaml:"units,omitempty"`
}

type butaneUnit struct {
	Name    string `yaml:"name"`
	Enabled bool   `yaml:"enabled"`
}

// octalMode is written as people write modes.
type octalMode int

// MarshalYAML writes 0600, not 384.
func (m octalMode) MarshalYAML() (any, error) {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: fmt.Sprintf("%#o", int(m))}, nil
}

// compile turns the config into Ignition's JSON, spec 3.4. Whatever Butane
// remarks is an error: nobody reads remarks before a machine boots.
//
// The one translator is called, not Butane's table of all: that table does not
// compile with the release of Ignition whose binary is in the images.
func (b butane) compile() ([]byte, error) {
	b.Variant, b.Version = "flatcar", "1.1.0"
	in, err := yaml.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("encode the Butane config: %w", err)
	}
	out, report, err := flatcar.ToIgn3_4Bytes(in, common.TranslateBytesOptions{})
	if len(report.Entries) > 0 {
		// The report names fields, never their contents.
		return nil, fmt.Errorf("butane: %s", report.String())
	}
	if err != nil {
		return nil, errors.New("butane refuses the config, please report this")
	}
	return out, nil
}
