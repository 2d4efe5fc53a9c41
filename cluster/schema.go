package cluster

import (
	"embed"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"strings"

	"github.com/invopop/jsonschema"
)

// source has the doc comments that become the schema's descriptions: one text
// for who reads the code and who writes a cluster.yaml.
//
//go:embed cluster.go services.go
var source embed.FS

// Schema is the JSON Schema (draft 2020-12) of cluster.yaml. It knows the shape
// only; what depends on several fields is Validate's.
func Schema() ([]byte, error) {
	comments, err := docComments()
	if err != nil {
		return nil, err
	}
	reflector := jsonschema.Reflector{
		Anonymous:      true,
		ExpandedStruct: true,
		FieldNameTag:   "yaml",
		Mapper:         scalarSchema,
		LookupComment:  func(t reflect.Type, field string) string { return comments[t.Name()+"."+field] },
	}
	schema := reflector.Reflect(&Cluster{})
	schema.Title = "imgbuild cluster.yaml"
	if err := refine(schema); err != nil {
		return nil, err
	}
	text, err := json.MarshalIndent(schema, "", "  ")
	return append(text, '\n'), err
}

// scalarSchema describes the types that are more than their Go kind.
func scalarSchema(t reflect.Type) *jsonschema.Schema {
	switch t {
	case reflect.TypeFor[Topology]():
		return words(Topologies())
	case reflect.TypeFor[Size]():
		return words(Sizes())
	case reflect.TypeFor[Role]():
		return words(Roles())
	case reflect.TypeFor[LoadBalancerMode]():
		return words(LoadBalancerModes())
	case reflect.TypeFor[RegistryKind]():
		return words(RegistryKinds())
	case reflect.TypeFor[SSLMode]():
		return words(SSLModes())
	case reflect.TypeFor[RookImages]():
		return words(RookImageSources())
	case reflect.TypeFor[DiskKind]():
		return words(DiskKinds())
	case reflect.TypeFor[Duration]():
		return &jsonschema.Schema{Type: "string", Pattern: `^([0-9]+(\.[0-9]+)?(h|m|s|ms))+$`, Examples: []any{"10m"}}
	case reflect.TypeFor[Bytes]():
		return &jsonschema.Schema{OneOf: []*jsonschema.Schema{
			{Type: "integer", Minimum: "1"},
			{Type: "string", Pattern: `^[0-9]+(\.[0-9]+)? *([KMGT](iB|B|i)?|B)?$`, Examples: []any{"4GiB"}},
		}}
	}
	return nil
}

func words[T ~string](list []T) *jsonschema.Schema {
	schema := &jsonschema.Schema{Type: "string"}
	for _, word := range list {
		schema.Enum = append(schema.Enum, string(word))
	}
	return schema
}

// refine adds what the Go types do not say: allowed words, ranges, defaults.
func refine(root *jsonschema.Schema) error {
	d := &Cluster{}
	d.setDefaults()
	rules := []struct {
		definition, key string
		change          func(s *jsonschema.Schema)
	}{
		{"", "apiVersion", func(s *jsonschema.Schema) { s.Const = APIVersion }},
		{"", "name", func(s *jsonschema.Schema) { s.Pattern = dnsLabel.String() }},
		{"", "size", func(s *jsonschema.Schema) { s.Default = d.Size }},
		{"", "base", func(s *jsonschema.Schema) { s.Enum = words(Bases()).Enum; s.Default = d.Base }},
		{"", "mirrors", func(s *jsonschema.Schema) { s.PropertyNames = words(Bases()) }},
		{"", "roles", func(s *jsonschema.Schema) { s.PropertyNames = words(Roles()) }},
		{"", "nodes", func(s *jsonschema.Schema) { s.MinItems = new(uint64(1)) }},
		{"Kubernetes", "version", func(s *jsonschema.Schema) {
			s.Enum = words(KubernetesVersions()).Enum
			s.Default = d.Kubernetes.Version
		}},
		{"Kubernetes", "podSubnet", func(s *jsonschema.Schema) { s.Default = d.Kubernetes.PodSubnet }},
		{"Kubernetes", "serviceSubnet", func(s *jsonschema.Schema) { s.Default = d.Kubernetes.ServiceSubnet }},
		{"Kubernetes", "dnsDomain", func(s *jsonschema.Schema) { s.Default = d.Kubernetes.DNSDomain }},
		{"Kubernetes", "cni", func(s *jsonschema.Schema) { s.Enum = words(CNIs()).Enum; s.Default = d.Kubernetes.CNI }},
		{"LoadBalancer", "port", func(s *jsonschema.Schema) { s.Minimum, s.Maximum = "1", "65535" }},
		{"LoadBalancer", "virtualRouterID", func(s *jsonschema.Schema) {
			s.Minimum, s.Maximum = "1", "255"
			s.Default = defaultVirtualRouterID
		}},
		{"Timeouts", "api", func(s *jsonschema.Schema) { s.Default = d.Timeouts.API }},
		{"Timeouts", "etcd", func(s *jsonschema.Schema) { s.Default = d.Timeouts.Etcd }},
		{"Timeouts", "heartbeat", func(s *jsonschema.Schema) { s.Default = d.Timeouts.Heartbeat }},
		{"Rook", "databasePercent", func(s *jsonschema.Schema) {
			s.Minimum, s.Maximum = "1", "10"
			s.Default = defaultDatabasePercent
		}},
		{"RoleOptions", "base", func(s *jsonschema.Schema) { s.Enum = words(Bases()).Enum }},
		{"Node", "name", func(s *jsonschema.Schema) { s.Pattern = dnsLabel.String() }},
		{"Node", "cpus", func(s *jsonschema.Schema) { s.Minimum = "1" }},
		{"Lab", "cpus", func(s *jsonschema.Schema) { s.Minimum = "1"; s.Default = d.Lab.CPUs }},
		{"Lab", "memory", func(s *jsonschema.Schema) { s.Default = d.Lab.Memory }},
		{"Lab", "disk", func(s *jsonschema.Schema) { s.Default = d.Lab.Disk }},
	}
	for _, rule := range rules {
		schema := root
		if rule.definition != "" {
			schema = root.Definitions[rule.definition]
		}
		if schema == nil || schema.Properties == nil {
			return fmt.Errorf("schema: no definition %s", rule.definition)
		}
		property, ok := schema.Properties.Get(rule.key)
		if !ok {
			return fmt.Errorf("schema: no property %s.%s", rule.definition, rule.key)
		}
		rule.change(property)
	}
	return nil
}

// docComments maps "Type." and "Type.Field" to their comments in the source.
func docComments() (map[string]string, error) {
	comments := map[string]string{}
	for _, name := range []string{"cluster.go", "services.go"} {
		text, err := source.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("schema: %w", err)
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ParseComments)
		if err != nil {
			return nil, fmt.Errorf("schema: %w", err)
		}
		ast.Inspect(file, func(n ast.Node) bool { return readComments(n, comments) })
	}
	return comments, nil
}

// readComments takes those of a type and of its fields.
func readComments(n ast.Node, comments map[string]string) bool {
	declaration, ok := n.(*ast.GenDecl)
	if !ok || declaration.Tok != token.TYPE {
		return true
	}
	spec := declaration.Specs[0].(*ast.TypeSpec)
	comments[spec.Name.Name+"."] = oneLine(declaration.Doc)
	if structure, ok := spec.Type.(*ast.StructType); ok {
		for _, field := range structure.Fields.List {
			for _, name := range field.Names {
				comments[spec.Name.Name+"."+name.Name] = oneLine(field.Doc)
			}
		}
	}
	return false
}

func oneLine(comment *ast.CommentGroup) string {
	return strings.Join(strings.Fields(comment.Text()), " ")
}
