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
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// MaxFileSize is the size in bytes above which a cluster.yaml is refused. A
// hundred nodes need about a hundredth of it.
const MaxFileSize = 1 << 20

// Load reads, checks and completes the cluster.yaml at path. The cluster is nil
// where the problems contain an error; otherwise it is valid, has every default
// filled in, and the problems are warnings only.
func Load(path string) (*Cluster, Problems) {
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
	return Parse(path, data)
}

// withoutPath is the cause in a file error: the path is in the problem already.
func withoutPath(err error) error {
	if pathError := new(fs.PathError); errors.As(err, &pathError) {
		return pathError.Err
	}
	return err
}

// Parse is Load for data that is already read; file is only the name that the
// problems carry.
func Parse(file string, data []byte) (*Cluster, Problems) {
	c, problems := parse(data)
	for i := range problems {
		problems[i].File = file
	}
	slices.SortStableFunc(problems, func(a, b Problem) int { return a.Line - b.Line })
	if problems.Err() != nil {
		return nil, problems
	}
	return c, problems
}

func parse(data []byte) (*Cluster, Problems) {
	document, problem := readDocument(data)
	if problem != nil {
		return nil, Problems{*problem}
	}
	c := &Cluster{}
	d := decode(document, c)
	c.setDefaults()
	problems := d.problems
	for _, p := range c.Validate() {
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
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var document yaml.Node
	err := decoder.Decode(&document)
	if errors.Is(err, io.EOF) || err == nil && isNull(document.Content[0]) {
		return fail(1, "is empty: start with `imgbuild init > cluster.yaml`")
	}
	if err != nil {
		line, message := syntaxError(err)
		return fail(line, "%s", message)
	}
	var second yaml.Node
	if err := decoder.Decode(&second); err == nil {
		return fail(max(second.Line, 1), "a second YAML document starts here: expected one cluster per file")
	} else if !errors.Is(err, io.EOF) {
		line, message := syntaxError(err)
		return fail(line, "%s", message)
	}
	return document.Content[0], nil
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

var syntaxLine = regexp.MustCompile(`^line (\d+): `)

// syntaxError takes the line out of the parser's message, which has none where
// the mistake is in the first line.
func syntaxError(err error) (line int, message string) {
	message = strings.TrimPrefix(err.Error(), "yaml: ")
	line = 1
	if m := syntaxLine.FindStringSubmatch(message); m != nil {
		line, _ = strconv.Atoi(m[1])
		message = strings.TrimPrefix(message, m[0])
	}
	return line, "not valid YAML: " + message
}
