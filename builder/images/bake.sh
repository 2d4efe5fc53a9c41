#!/bin/sh
# Unpacks OCI layouts into a containerd store. Runs in the base tree, with a
# containerd of its own that ends with this script.
#   /mnt/bin      containerd and ctr        /mnt/images/N  one OCI layout each
#   /mnt/store    the store to be filled    /mnt/bake.toml containerd's configuration
# Arguments: REF CONFIG-DIGEST pairs, in the order of N.
set -eu
PATH=/mnt/bin:$PATH
# The archives of an image's layers are synced to the disk by containerd and
# removed right after: they are in memory instead, those of one image at a time.
content=/mnt/store/io.containerd.content.v1.content
mkdir /run/content
ln -s /run/content $content
containerd --config /mnt/bake.toml --log-level warn &
daemon=$!
ctr="ctr --address /run/bake/containerd.sock --namespace k8s.io"
tries=0
until $ctr version > /dev/null 2>&1; do
    kill -0 $daemon || { echo "containerd ended before it answered" >&2; exit 1; }
    tries=$((tries + 1))
    [ $tries -lt 600 ] || { echo "containerd does not answer after 60 s" >&2; exit 1; }
    sleep 0.1
done
n=0
while [ $# -gt 0 ]; do
    ref=$1 config=$2
    shift 2
    tar -C "/mnt/images/$n" -cf - . |
        $ctr images import --local --discard-unpacked-layers --snapshotter overlayfs - > /dev/null
    # What CRI would add at the first boot: the image's id as a second name and
    # its own label. pinned keeps image garbage collection away.
    $ctr images tag "$ref" "$config" > /dev/null
    for name in "$ref" "$config"; do
        $ctr images label "$name" io.cri-containerd.image=managed io.cri-containerd.pinned=pinned > /dev/null
    done
    # A collection of garbage, at once: what is unpacked needs no archive of itself.
    $ctr content prune references > /dev/null
    n=$((n + 1))
done
kill $daemon
wait $daemon || true
rm $content
cp -R /run/content $content
