package cluster

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

func isNull(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}

// describe says what a node is, for "expected X, got …". It shows the values of
// numbers and words that YAML takes for something else, not those of strings:
// a misplaced string may be a secret.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.SequenceNode:
		return "a list"
	case yaml.MappingNode:
		return "keys and values"
	case yaml.AliasNode:
		return "an alias"
	}
	switch tag := n.ShortTag(); tag {
	case "!!null":
		return "nothing"
	case "!!str":
		return "a string"
	case "!!int", "!!float":
		return "the number " + short(n.Value)
	case "!!bool":
		return "the boolean " + short(n.Value)
	case "!!timestamp":
		return "the date " + short(n.Value)
	default:
		return "a value tagged " + short(tag)
	}
}

// short cuts what a message quotes from the file.
func short(s string) string {
	const most = 60
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most]) + "…"
}

// oneOf is the part of a message that lists allowed words, and the one that
// was probably meant.
func oneOf[T ~string](got T, allowed []T) string {
	words := make([]string, len(allowed))
	for i, a := range allowed {
		words[i] = string(a)
	}
	message := fmt.Sprintf("expected %s, got %q", words[0], short(string(got)))
	if len(words) == 1 {
		return message
	}
	message = fmt.Sprintf("expected one of %s, got %q", strings.Join(words, ", "), short(string(got)))
	if near := nearest(string(got), words); near != "" {
		message += ": did you mean " + near + "?"
	}
	return message
}

// nearest is the word that was probably meant, or "": at most half of the
// letters may differ, and no more than three. Capitals do not count.
func nearest(word string, words []string) string {
	if len(word) > 64 {
		return ""
	}
	best, bestDistance := "", min(len(word)/2+1, 4)
	for _, w := range words {
		d := distance(strings.ToLower(word), strings.ToLower(w))
		if d < bestDistance {
			best, bestDistance = w, d
		}
	}
	return best
}

// distance is Levenshtein's: how many letters to add, drop or change.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
