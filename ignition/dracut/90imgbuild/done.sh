#!/bin/bash
# Everything that Ignition wrote is on the disk before the marker says so.
set -eu
# shellcheck source=say.sh
. /usr/lib/imgbuild/say.sh
top=/run/imgbuild/state
sync
: > "$top/ignition.done.new"
sync
mv "$top/ignition.done.new" "$top/ignition.done"
sync
# Where the installation has left the config: nobody needs it any more.
rm -f "$top/ignition.ign"
say "ignition done"
