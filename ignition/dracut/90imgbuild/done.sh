#!/bin/bash
# Everything that Ignition wrote is on the disk before the marker says so.
set -eu
top=/run/imgbuild/state
sync
: > "$top/ignition.done.new"
sync
mv "$top/ignition.done.new" "$top/ignition.done"
sync
echo "imgbuild: ignition done"
echo "imgbuild: ignition done" > /dev/console
