package components

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"imgbuild/builder/sandbox"
)

// userSettings are the Go settings of the user that say where modules come
// from and where they are kept. They do not change what is compiled.
var userSettings = []string{
	"GOPROXY", "GOSUMDB", "GOPRIVATE", "GONOPROXY", "GONOSUMDB", "GOINSECURE", "GOAUTH", "GOVCS",
	"GOCACHE", "GOMODCACHE",
}

// toolchain is the host's Go.
type toolchain struct {
	version, root string
	settings      map[string]string
}

// GoVersion returns the release of the host's Go, "go1.26.8" for example.
func GoVersion(ctx context.Context) (string, error) {
	t, err := readToolchain(ctx)
	return t.version, err
}

func readToolchain(ctx context.Context) (toolchain, error) {
	args := append([]string{"env", "-json", "GOVERSION", "GOROOT"}, userSettings...)
	cmd := sandbox.Command(ctx, "go", args...)
	// "/": the go.mod of a current directory must not choose another release.
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "GOTOOLCHAIN=local", "GOWORK=off")
	var errText bytes.Buffer
	cmd.Stderr = &errText
	out, err := cmd.Output()
	if errors.Is(err, exec.ErrNotFound) {
		return toolchain{}, errors.New("no go in PATH: install Go, components are compiled with it")
	}
	if err != nil {
		return toolchain{}, fmt.Errorf("go env: %w: %s", err, strings.TrimSpace(errText.String()))
	}
	values := map[string]string{}
	if err := json.Unmarshal(out, &values); err != nil {
		return toolchain{}, fmt.Errorf("go env: %w", err)
	}
	t := toolchain{version: values["GOVERSION"], root: values["GOROOT"], settings: values}
	for _, dir := range []string{values["GOCACHE"], values["GOMODCACHE"]} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return toolchain{}, fmt.Errorf("make Go's cache: %w", err)
		}
	}
	return t, nil
}

// hostEnv is the environment of Go on the host: the user's, without settings
// that would change the programs.
func (t toolchain) hostEnv(offline bool, tmp string) []string {
	var env []string
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, "GO") && !strings.HasPrefix(name, "CGO_") {
			env = append(env, kv)
		}
	}
	for _, name := range userSettings {
		if v := t.settings[name]; v != "" {
			env = append(env, name+"="+v)
		}
	}
	if offline {
		env = append(env, "GOPROXY=off")
	}
	return append(append(env, fixedEnv()...), "GOTMPDIR="+tmp)
}

// run executes a command of the host and returns its standard output. On
// failure, the error holds the end of what it wrote. Cancelling ends the
// compilers it started too.
func run(ctx context.Context, dir string, env []string, argv ...string) (string, error) {
	cmd := sandbox.Command(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = dir, env
	var out bytes.Buffer
	errText := &sandbox.Tail{Max: 4000}
	cmd.Stdout, cmd.Stderr = &out, errText
	err := cmd.Run()
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w:\n%s", strings.Join(argv[:min(2, len(argv))], " "), err, errText)
	}
	return out.String(), nil
}
