package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"sort"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// MaxFileSize is the size in bytes above which a cluster.yaml is refused. A
// hundred nodes need about a hundredth of it.
const MaxFileSize = 1 << 20

// Load reads, checks and completes the cluster.yaml at path. The cluster is nil
// where the problems contain an error; otherwise it is valid, has every default
// filled in, and the problems are warnings only. checks are run besides those of
// the package; Load gives what they find its file and line.
func Load(path string, checks ...Check) (*Cluster, Problems) {
	fail := func(format string, args ...any) (*Cluster, Problems) {
		return nil, Problems{{File: path, Message: fmt.Sprintf(format, args...), Severity: SeverityError}}
	}
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fail("no such file: name one with --cluster, or make one with `imgbuild init > cluster.yaml`")
	}
	if err != nil {
		return fail("cannot be read: %v", withoutPath(err))
	}
	defer file.Close()
	// One byte more than allowed is enough for Parse to see that it is too big.
	data, err := io.ReadAll(io.LimitReader(file, MaxFileSize+1))
	if err != nil {
		return fail("cannot be read: %v", withoutPath(err))
	}
	return Parse(path, data, checks...)
}

// Check is a look at what only others know of, such as what can be built. It is
// given a cluster with its defaults, which need not be valid.
type Check func(*Cluster) Problems

// withoutPath is the cause in a file error: the path is in the problem already.
func withoutPath(err error) error {
	if pathError := new(fs.PathError); errors.As(err, &pathError) {
		return pathError.Err
	}
	return err
}

// Parse is Load for data that is already read; file is only the name that the
// problems carry.
func Parse(file string, data []byte, checks ...Check) (*Cluster, Problems) {
	c, problems := parse(data, checks)
	for i := range problems {
		problems[i].File = file
	}
	slices.SortStableFunc(problems, func(a, b Problem) int { return a.Line - b.Line })
	if problems.Err() != nil {
		return nil, problems
	}
	return c, problems
}

func parse(data []byte, checks []Check) (*Cluster, Problems) {
	document, problem := readDocument(data)
	if problem != nil {
		return nil, Problems{*problem}
	}
	c := &Cluster{}
	d := decode(document, c)
	c.setDefaults()
	// These two decide what other fields may be: where they cannot be read, no
	// default stands in for what was meant.
	if d.isBad("size") {
		c.Size = ""
	}
	if d.isBad("loadBalancer.mode") {
		c.LoadBalancer.Mode = ""
	}
	found := c.Validate()
	for _, check := range checks {
		found = append(found, check(c)...)
	}
	problems := d.problems
	for _, p := range found {
		// One mistake is one problem: where a field could not be read, what
		// the checks then say about its zero value would only confuse.
		if !d.isBad(p.Field) {
			p.Line = d.line(p.Field)
			problems = append(problems, p)
		}
	}
	return c, problems
}

// readDocument returns the root node of the only YAML document in data.
func readDocument(data []byte) (*yaml.Node, *Problem) {
	fail := func(line int, format string, args ...any) (*yaml.Node, *Problem) {
		return nil, &Problem{Line: line, Message: fmt.Sprintf(format, args...), Severity: SeverityError}
	}
	if len(data) > MaxFileSize {
		return fail(0, "is larger than %s: not a cluster.yaml", Bytes(MaxFileSize))
	}
	if line, what := unprintable(data); line > 0 {
		return fail(line, "%s: expected UTF-8 text", what)
	}
	nodes, err := documents(data)
	switch {
	case err != nil:
		return fail(syntaxLine(data, err), "not valid YAML: %s", parserLine.ReplaceAllString(err.Error(), ""))
	case len(nodes) == 0 || isNull(nodes[0].Content[0]):
		return fail(1, "is empty: start with `imgbuild init > cluster.yaml`")
	case len(nodes) > 1:
		return fail(nodes[1].Line, "a second YAML document starts here: expected one cluster per file")
	}
	return nodes[0].Content[0], nil
}

// documents parses the first two YAML documents in data: a third would say
// nothing new.
func documents(data []byte) ([]*yaml.Node, error) {
	var nodes []*yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for len(nodes) < 2 {
		node := &yaml.Node{}
		err := decoder.Decode(node)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, node)
	}
	return nodes, nil
}

// unprintable finds the first line with bytes that no text file has. The YAML
// parser refuses them too, but does not say where. The line is 0 if all is well.
func unprintable(data []byte) (line int, what string) {
	for i, text := range bytes.Split(data, []byte("\n")) {
		if !utf8.Valid(text) {
			return i + 1, "bytes that are not UTF-8"
		}
		if bytes.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\t' && r != '\r' || r == 0x7f }) {
			return i + 1, "a control character"
		}
	}
	return 0, ""
}

// parserLine is how the parser's messages begin. The line in them is often
// that of the block around the mistake, or one too low.
var parserLine = regexp.MustCompile(`^yaml: (line \d+: )?`)

// syntaxLine is the line of a syntax error: the first one that makes the parser
// give up just as it does on the whole file. The parser reads forwards, so once
// it has given up, no further line changes what it says.
func syntaxLine(data []byte, whole error) int {
	lines := bytes.SplitAfter(data, []byte("\n"))
	return 1 + sort.Search(len(lines)-1, func(i int) bool {
		_, err := documents(bytes.Join(lines[:i+1], nil))
		return err != nil && err.Error() == whole.Error()
	})
}
