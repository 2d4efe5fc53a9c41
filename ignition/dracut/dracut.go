// Package dracut holds the dracut module that prepares a machine for Ignition.
//
// It is files only: package roles puts them into a plan, package boot has
// dracut read them.
package dracut

import "embed"

// Module is the folder 90imgbuild.
//
//go:embed 90imgbuild
var Module embed.FS
