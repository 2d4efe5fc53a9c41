package roles

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// KeepEpoch takes the epoch of an older lock that pins the same: then images
// stay the same, too.
func (l Lock) KeepEpoch(old Lock) Lock {
	same := old
	same.Epoch = l.Epoch
	a, errA := json.Marshal(l)
	b, errB := json.Marshal(same)
	if errA == nil && errB == nil && string(a) == string(b) {
		return old
	}
	return l
}

// Changes says what differs from an older lock, one line each: components, images
// that are pulled, and packages by their name.
func (l Lock) Changes(old Lock) []string {
	before, after := old.versions(), l.versions()
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(after)) {
		switch was, ok := before[name]; {
		case !ok && len(before) > 0:
			lines = append(lines, fmt.Sprintf("  + %s %s", name, after[name]))
		case ok && was != after[name]:
			lines = append(lines, fmt.Sprintf("  ~ %s %s → %s", name, was, after[name]))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if _, ok := after[name]; !ok {
			lines = append(lines, fmt.Sprintf("  - %s %s", name, before[name]))
		}
	}
	return lines
}

func (l Lock) versions() map[string]string {
	v := map[string]string{}
	for _, c := range l.Components {
		v["component "+c.Name] = fmt.Sprintf("%s (inputs %.12s, %s)", c.Version, c.Inputs, c.Go)
	}
	for _, img := range l.Images {
		v["image "+img.Ref] = img.Digest
	}
	for _, t := range l.Trees {
		for _, p := range t.Packages {
			v["package "+p.Name] = p.Version
		}
	}
	return v
}

// PackageCount is how many packages are pinned, each once.
func (l Lock) PackageCount() int {
	seen := map[string]bool{}
	for _, t := range l.Trees {
		for _, p := range t.Packages {
			seen[p.SHA256] = true
		}
	}
	return len(seen)
}
