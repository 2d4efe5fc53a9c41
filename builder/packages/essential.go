package packages

import "strings"

// markEssential marks the packages with the control field Essential: yes, and
// all that they depend on: scripts of any package may use these without saying
// so (Debian policy, 3.8). stanzas are the control fields by package name.
func markEssential(pkgs []Package, stanzas map[string]map[string]string) {
	providers := map[string][]string{}
	var todo []string
	for _, p := range pkgs {
		f := stanzas[p.Name]
		for _, name := range append(relations(f["Provides"]), p.Name) {
			providers[name] = append(providers[name], p.Name)
		}
		if f["Essential"] == "yes" {
			todo = append(todo, p.Name)
		}
	}
	essential := map[string]bool{}
	for len(todo) > 0 {
		name := todo[0]
		todo = todo[1:]
		if essential[name] {
			continue
		}
		essential[name] = true
		for _, wanted := range append(relations(stanzas[name]["Pre-Depends"]), relations(stanzas[name]["Depends"])...) {
			todo = append(todo, providers[wanted]...)
		}
	}
	for i := range pkgs {
		pkgs[i].Essential = essential[pkgs[i].Name]
	}
}

// relations are the package names in a field like Depends, alternatives among
// them, without versions and architectures (deb-control(5)).
func relations(field string) []string {
	var names []string
	for _, one := range strings.FieldsFunc(field, func(r rune) bool { return r == ',' || r == '|' }) {
		if f := strings.Fields(one); len(f) > 0 {
			name, _, _ := strings.Cut(f[0], ":")
			names = append(names, name)
		}
	}
	return names
}
