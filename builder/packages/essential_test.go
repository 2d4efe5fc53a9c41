package packages

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestMarkEssential(t *testing.T) {
	stanzas := map[string]map[string]string{
		"bash":       {"Essential": "yes", "Pre-Depends": "libc6 (>= 2.38), libtinfo6 (>= 6)", "Depends": "base-files (>= 2.1.12)"},
		"dpkg":       {"Essential": "yes", "Depends": "awk, tar:any | busybox"},
		"mawk":       {"Provides": "awk (= 1), other"},
		"base-files": {}, "libc6": {"Depends": "libgcc-s1"}, "libgcc-s1": {}, "libtinfo6": {}, "tar": {},
		"systemd": {"Depends": "libc6, bash"},
	}
	var pkgs []Package
	for name := range stanzas {
		pkgs = append(pkgs, Package{Name: name})
	}
	markEssential(pkgs, stanzas)
	var marked []string
	for _, p := range pkgs {
		if p.Essential {
			marked = append(marked, p.Name)
		}
	}
	assert.ElementsMatch(t, []string{"bash", "base-files", "dpkg", "libc6", "libgcc-s1", "libtinfo6", "mawk", "tar"}, marked)
}
