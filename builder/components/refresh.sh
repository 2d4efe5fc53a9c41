#!/bin/sh
# Brings a component's module.mod and module.sum up to date:
#
#   sh builder/components/refresh.sh NAME [MODULE@VERSION...]
#
# With MODULE@VERSION it moves to that version first; write the same version
# into component.yaml. It is not `go mod tidy`, which also wants the modules of
# everybody's tests. The two files are edited by hand for anything else.
set -eu
name=${1:?usage: refresh.sh NAME [MODULE@VERSION...]}
shift
here=$(cd "$(dirname "$0")" && pwd)/$name
test -f "$here/module.mod" || { echo "refresh.sh: there is no component $name" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$here/module.mod" "$work/go.mod"
cp "$here/module.sum" "$work/go.sum"
packages=tool
if [ -f "$here/main.go" ]; then
	cp "$here/main.go" "$work/main.go"
	packages=main.go
fi
cd "$work"
export GOWORK=off GOTOOLCHAIN=local GOFLAGS=-mod=mod CGO_ENABLED=1
for change in "$@"; do
	go mod edit -require "$change"
done
if grep -q '^tool ' go.mod || [ "$packages" = main.go ]; then
	go list -deps "$packages" >/dev/null
else
	# No package is compiled, files are taken from the modules only.
	go mod download
fi
cp go.mod "$here/module.mod.new"
cp go.sum "$here/module.sum.new"
mv "$here/module.mod.new" "$here/module.mod"
mv "$here/module.sum.new" "$here/module.sum"
