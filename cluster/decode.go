package cluster

import (
	"encoding"
	"fmt"
	"reflect"
	"regexp"
	"strings"

	"gopkg.in/yaml.v3"
)

// decoder fills a struct from YAML nodes. yaml.v3's own decoding stops being
// useful after the first kind of mistake and does not keep lines; this one goes
// on after every mistake and remembers where each field was.
//
// It deliberately knows only what Cluster is made of: structs, slices, maps
// with string keys, strings, ints, bools, pointers to them and
// encoding.TextUnmarshaler. Aliases are refused: nobody needs them here, and
// without them a small file cannot unfold into a huge one.
type decoder struct {
	problems Problems
	// lines maps a field's path to its line.
	lines map[string]int
	// bad are the paths whose value could not be used.
	bad map[string]bool
}

// decode fills into, a pointer to a struct, from the document's root node.
func decode(root *yaml.Node, into any) *decoder {
	d := &decoder{lines: map[string]int{"": root.Line}, bad: map[string]bool{}}
	d.value(root, "", reflect.ValueOf(into).Elem())
	return d
}

// line is where the field is, or the closest parent that the file has.
func (d *decoder) line(path string) int {
	for {
		if line, ok := d.lines[path]; ok {
			return line
		}
		path = parent(path)
	}
}

// isBad says whether the field, or something that it is in, could not be read.
func (d *decoder) isBad(path string) bool {
	for ; path != ""; path = parent(path) {
		if d.bad[path] {
			return true
		}
	}
	return d.bad[""]
}

func (d *decoder) fail(n *yaml.Node, path, format string, args ...any) {
	d.bad[path] = true
	d.problems = append(d.problems, Problem{
		Line: n.Line, Field: path, Message: fmt.Sprintf(format, args...), Severity: SeverityError,
	})
}

// value decodes n into v.
func (d *decoder) value(n *yaml.Node, path string, v reflect.Value) {
	if n.Kind == yaml.AliasNode {
		d.fail(n, path, "aliases (*%s) are not supported: write the value out", n.Value)
		return
	}
	if text, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		d.text(n, path, text)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		target := reflect.New(v.Type().Elem())
		d.value(n, path, target.Elem())
		if !d.bad[path] {
			v.Set(target)
		}
	case reflect.Struct:
		d.structure(n, path, v)
	case reflect.Map:
		d.mapping(n, path, v)
	case reflect.Slice:
		d.list(n, path, v)
	case reflect.String:
		if d.scalar(n, path, "!!str", "a string") {
			v.SetString(n.Value)
		}
	case reflect.Int:
		d.integer(n, path, v)
	case reflect.Bool:
		if d.scalar(n, path, "!!bool", "true or false") && n.Decode(v.Addr().Interface()) != nil {
			d.fail(n, path, "expected true or false")
		}
	default:
		d.fail(n, path, "imgbuild cannot read a field of type %s: please report this", v.Type())
	}
}

func (d *decoder) integer(n *yaml.Node, path string, v reflect.Value) {
	if d.scalar(n, path, "!!int", "a whole number") && n.Decode(v.Addr().Interface()) != nil {
		d.fail(n, path, "expected a whole number, got %s", short(n.Value))
	}
}

func (d *decoder) text(n *yaml.Node, path string, target encoding.TextUnmarshaler) {
	if n.Kind != yaml.ScalarNode || isNull(n) {
		d.fail(n, path, "expected one value, got %s", describe(n))
		return
	}
	if err := target.UnmarshalText([]byte(n.Value)); err != nil {
		d.fail(n, path, "%v", err)
	}
}

// scalar says whether n is a scalar of the type that tag names.
func (d *decoder) scalar(n *yaml.Node, path, tag, expected string) bool {
	if n.Kind == yaml.ScalarNode && n.ShortTag() == tag {
		return true
	}
	hint := ""
	if isNull(n) {
		hint = ": give a value or remove the key"
	} else if tag == "!!str" && n.Kind == yaml.ScalarNode {
		hint = ": put it in quotes"
	}
	d.fail(n, path, "expected %s, got %s%s", expected, describe(n), hint)
	return false
}

func (d *decoder) list(n *yaml.Node, path string, v reflect.Value) {
	if isNull(n) {
		return
	}
	if n.Kind != yaml.SequenceNode {
		d.fail(n, path, "expected a list, got %s", describe(n))
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
	for i, item := range n.Content {
		at := fmt.Sprintf("%s[%d]", path, i)
		d.lines[at] = item.Line
		d.value(item, at, v.Index(i))
	}
}

func (d *decoder) mapping(n *yaml.Node, path string, v reflect.Value) {
	d.keys(n, path, func(key, value *yaml.Node, at string) {
		if v.IsNil() {
			v.Set(reflect.MakeMap(v.Type()))
		}
		item := reflect.New(v.Type().Elem()).Elem()
		d.value(value, at, item)
		v.SetMapIndex(reflect.ValueOf(key.Value).Convert(v.Type().Key()), item)
	})
}

func (d *decoder) structure(n *yaml.Node, path string, v reflect.Value) {
	names := fieldNames(v.Type())
	d.keys(n, path, func(key, value *yaml.Node, at string) {
		for i, name := range names {
			if key.Value == name {
				d.value(value, at, v.Field(i))
				d.refuseZero(value, at, v.Field(i))
				return
			}
		}
		near := nearest(key.Value, names)
		if near == "" {
			d.fail(key, at, "unknown key: expected one of %s", strings.Join(names, ", "))
			return
		}
		d.fail(key, at, "unknown key: did you mean %s?", near)
		// The key that was meant is not missing as well.
		d.bad[child(path, near)] = true
	})
}

// refuseZero refuses an empty string or a 0 that the file spells out: it would
// silently become the default.
func (d *decoder) refuseZero(n *yaml.Node, path string, v reflect.Value) {
	isScalar := n.Kind == yaml.ScalarNode && !isNull(n) && v.Kind() != reflect.Bool
	if isScalar && v.IsZero() && !d.bad[path] {
		d.fail(n, path, "must not be empty or 0: give a value or remove the key")
	}
}

// keys calls each for every key of the mapping n, and refuses keys that are
// not plain words or come twice.
func (d *decoder) keys(n *yaml.Node, path string, each func(key, value *yaml.Node, at string)) {
	if isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		d.fail(n, path, "expected keys and values, got %s", describe(n))
		return
	}
	first := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode {
			d.fail(key, path, "expected a plain word as the key, got %s", describe(key))
			continue
		}
		at := child(path, key.Value)
		if line, seen := first[key.Value]; seen {
			d.fail(key, at, "duplicate key: the first one is in line %d", line)
			continue
		}
		first[key.Value] = key.Line
		d.lines[at] = key.Line
		each(key, value, at)
	}
}

// fieldNames are the keys of a struct, by field index.
func fieldNames(t reflect.Type) []string {
	names := make([]string, t.NumField())
	for i := range names {
		names[i], _, _ = strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
	}
	return names
}

var plainKey = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// child is the path of a key; keys with dots and the like are quoted.
func child(path, key string) string {
	if !plainKey.MatchString(key) {
		return fmt.Sprintf("%s[%q]", path, short(key))
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

// parent drops the last step of a path.
func parent(path string) string {
	if strings.HasSuffix(path, "\"]") {
		return path[:max(strings.LastIndex(path[:len(path)-2], "[\""), 0)]
	}
	return path[:max(strings.LastIndexAny(path, ".["), 0)]
}
