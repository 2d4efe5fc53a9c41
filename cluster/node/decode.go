package node

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxSize is far above what a file of either kind needs.
const maxSize = 1 << 20

// Decode reads node.json strictly and validates it. The error has one line per
// problem.
func Decode(data []byte) (Node, error) {
	var n Node
	if err := decode("node.json", data, &n); err != nil {
		return Node{}, err
	}
	if err := n.Validate(); err != nil {
		return Node{}, err
	}
	return n, nil
}

// DecodeImage reads image.json strictly and validates it. The error has one
// line per problem.
func DecodeImage(data []byte) (Image, error) {
	var i Image
	if err := decode("image.json", data, &i); err != nil {
		return Image{}, err
	}
	if err := i.Validate(); err != nil {
		return Image{}, err
	}
	return i, nil
}

// problems collects what is wrong with the file of one name.
type problems struct {
	file  string
	lines []string
}

func (p *problems) addf(field, format string, args ...any) {
	line := p.file + ": "
	if field != "" {
		line += field + ": "
	}
	p.lines = append(p.lines, line+fmt.Sprintf(format, args...))
}

func (p *problems) err() error {
	if len(p.lines) == 0 {
		return nil
	}
	return errors.New(strings.Join(p.lines, "\n"))
}

// decode fills into, a pointer to a struct. encoding/json alone would take a
// key in any case, the last of two equal keys, and nothing at all for a missing
// one: here each of them is a problem.
func decode(file string, data []byte, into any) error {
	p := &problems{file: file}
	switch {
	case len(data) > maxSize:
		p.addf("", "expected at most %d bytes, got %d", maxSize, len(data))
	case len(bytes.TrimSpace(data)) == 0:
		p.addf("", "expected a JSON object, got an empty file")
	case !utf8.Valid(data):
		p.addf("", "expected UTF-8 text")
	case !json.Valid(data):
		p.addf("", "expected one JSON object: %v", syntaxError(data))
	default:
		p.check(data, "", reflect.TypeOf(into).Elem())
	}
	if err := p.err(); err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		// Left for numbers: too large, or not whole.
		wrong := new(json.UnmarshalTypeError)
		if errors.As(err, &wrong) {
			p.addf(wrong.Field, "expected a whole number, got %s", strings.TrimPrefix(wrong.Value, "number "))
		} else {
			p.addf("", "%v", err)
		}
	}
	return p.err()
}

// syntaxError says what the parser stumbled over, and where.
func syntaxError(data []byte) error {
	var ignored json.RawMessage
	err := json.Unmarshal(data, &ignored)
	if at := new(json.SyntaxError); errors.As(err, &at) {
		return fmt.Errorf("line %d: %w", 1+bytes.Count(data[:at.Offset], []byte("\n")), err)
	}
	return err
}

// check compares the shape of valid JSON with the type that it is for.
func (p *problems) check(data []byte, path string, t reflect.Type) {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	got, want := kindOf(data), kindFor(t)
	// Go writes a nil slice or map as null.
	if got == "null" && (t.Kind() == reflect.Slice || t.Kind() == reflect.Map) {
		return
	}
	if got != want {
		p.addf(path, "expected %s, got %s", want, got)
		return
	}
	switch t.Kind() {
	case reflect.Struct:
		p.checkStruct(data, path, t)
	case reflect.Map:
		for _, m := range p.members(data, path) {
			p.check(m.value, join(path, m.key), t.Elem())
		}
	case reflect.Slice:
		var items []json.RawMessage
		if err := json.Unmarshal(data, &items); err != nil {
			p.addf(path, "%v", err)
		}
		for i, item := range items {
			p.check(item, fmt.Sprintf("%s[%d]", path, i), t.Elem())
		}
	}
}

func (p *problems) checkStruct(data []byte, path string, t reflect.Type) {
	var known, missing []string
	types := map[string]reflect.Type{}
	for i := range t.NumField() {
		name, options, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		known = append(known, name)
		types[name] = t.Field(i).Type
		if options != "omitempty" {
			missing = append(missing, name)
		}
	}
	for _, m := range p.members(data, path) {
		missing = slices.DeleteFunc(missing, func(name string) bool { return name == m.key })
		if types[m.key] == nil {
			p.addf(join(path, m.key), "unknown field: expected one of %s", strings.Join(known, ", "))
			continue
		}
		p.check(m.value, join(path, m.key), types[m.key])
	}
	for _, name := range missing {
		p.addf(join(path, name), "expected %s, but it is missing", kindFor(types[name]))
	}
}

type member struct {
	key   string
	value json.RawMessage
}

// members lists the members of an object in the order of the file, each key
// once.
func (p *problems) members(data []byte, path string) []member {
	var list []member
	decoder := json.NewDecoder(bytes.NewReader(data))
	seen := map[string]bool{}
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			p.addf(path, "%v", err)
			return list
		}
		key, ok := token.(string)
		if !ok {
			// The braces of the object.
			continue
		}
		m := member{key: key}
		if err := decoder.Decode(&m.value); err != nil {
			p.addf(path, "%v", err)
			return list
		}
		if seen[key] {
			p.addf(join(path, key), "expected once, got a second time")
			continue
		}
		seen[key] = true
		list = append(list, m)
	}
}

func join(path, key string) string {
	if len(key) > 64 {
		key = key[:64] + "…"
	}
	if strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r == '.' || r == '"' || r == '/' }) {
		return fmt.Sprintf("%s[%q]", path, key)
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

// kindOf names what a JSON value is.
func kindOf(data []byte) string {
	switch bytes.TrimSpace(data)[0] {
	case '{':
		return "an object"
	case '[':
		return "a list"
	case '"':
		return "a string"
	case 't', 'f':
		return "true or false"
	case 'n':
		return "null"
	}
	return "a number"
}

// kindFor names the JSON value that a field of Node or Image has.
func kindFor(t reflect.Type) string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Slice:
		return "a list"
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	}
	return "a number"
}
