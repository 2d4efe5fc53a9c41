package cluster_test

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"testing"

	validator "github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"imgbuild/cluster"
)

func compiled(t *testing.T) *validator.Schema {
	t.Helper()
	text, err := cluster.Schema()
	require.NoError(t, err)
	document, err := validator.UnmarshalJSON(bytes.NewReader(text))
	require.NoError(t, err)
	compiler := validator.NewCompiler()
	require.NoError(t, compiler.AddResource("cluster.schema.json", document))
	schema, err := compiler.Compile("cluster.schema.json")
	require.NoError(t, err)
	return schema
}

func instance(t *testing.T, text []byte) any {
	t.Helper()
	var document any
	require.NoError(t, yaml.Unmarshal(text, &document))
	data, err := json.Marshal(document)
	require.NoError(t, err)
	value, err := validator.UnmarshalJSON(bytes.NewReader(data))
	require.NoError(t, err)
	return value
}

func TestSchemaGolden(t *testing.T) {
	text, err := cluster.Schema()
	require.NoError(t, err)
	golden(t, filepath.Join("testdata", "schema.golden"), string(text))
}

func TestTemplatesFollowTheSchema(t *testing.T) {
	schema := compiled(t)
	for _, topology := range cluster.Topologies() {
		text, err := cluster.Template(topology)
		require.NoError(t, err)
		assert.NoError(t, schema.Validate(instance(t, text)), topology)
	}
}

func TestSchemaRefusesWhatHasTheWrongShape(t *testing.T) {
	schema := compiled(t)
	text, err := cluster.Template(cluster.Single)
	require.NoError(t, err)
	for old, replacement := range map[string]string{
		"name: demo":         "nmae: demo",
		"topology: single":   "topology: double",
		"role: master":       "role: boss",
		"base: debian-13":    "base: debian-1",
		"memory: 4GiB":       "memory: lots",
		"version: v1.36.3":   "version: v1.2.3",
		"mode: none":         "mode: dns",
		"address: 10.77.0.1": "adress: 10.77.0.1",
	} {
		broken := bytes.Replace(text, []byte(old), []byte(replacement), 1)
		require.NotEqual(t, text, broken, old)
		assert.Error(t, schema.Validate(instance(t, broken)), replacement)
	}
}

// Every field must be explained where an editor shows it.
func TestSchemaDescribesEveryField(t *testing.T) {
	text, err := cluster.Schema()
	require.NoError(t, err)
	type object struct {
		Properties map[string]map[string]any `json:"properties"`
	}
	var schema struct {
		object
		Definitions map[string]object `json:"$defs"`
	}
	require.NoError(t, json.Unmarshal(text, &schema))
	schema.Definitions["Cluster"] = schema.object
	for name, definition := range schema.Definitions {
		for key, property := range definition.Properties {
			assert.NotEmpty(t, property["description"], "%s.%s has no doc comment", name, key)
		}
	}
}
