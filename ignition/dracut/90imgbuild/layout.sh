#!/bin/bash
# Makes /etc and /opt writable overlays and /var a directory of state, all
# below /sysroot, before Ignition writes files and before the root is entered.
set -u
top=/run/imgbuild/state

stop() { echo "$*" > /run/imgbuild/stop; exit 1; }

modprobe -q overlay
for dir in etc opt; do
    mkdir -p "$top/$dir/upper" "$top/$dir/work"
    mount -t overlay overlay \
        -o "lowerdir=/sysroot/$dir,upperdir=$top/$dir/upper,workdir=$top/$dir/work" "/sysroot/$dir" ||
        stop "could not lay the overlay over /$dir: is the state partition damaged?"
done
[[ -d $top/var ]] || stop "the state partition has no /var: it is not one of imgbuild's, or it is damaged"
mount --bind "$top/var" /sysroot/var || stop "could not bind /var from state"
