#!/bin/sh
# Runs a command in a tree, in mount and process namespaces of its own that
# unshare(1) has made: nothing of this is mounted on the host.
# Arguments: the tree, a folder that is /work in it, the command.
set -eu
tree=$1 work=$2
shift 2
mount --make-rprivate /
# mkosi's own sandbox wants its root to be a mount point.
mount --bind "$tree" "$tree"
mount -t proc proc "$tree/proc"
mount --rbind /dev "$tree/dev"
mount --rbind /sys "$tree/sys"
mount -t tmpfs tmpfs "$tree/run"
mkdir -p "$tree/work"
mount --bind "$work" "$tree/work"
cp /etc/resolv.conf "$tree/etc/resolv.conf"
exec chroot "$tree" /bin/sh -c 'cd /work && exec "$@"' sh "$@"
