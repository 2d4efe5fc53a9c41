#!/bin/bash
# Finds the state partition on the disk of the root, grows it to the disk once,
# checks and mounts it, and decides whether Ignition runs in this boot.
set -u
shopt -s nullglob

# shellcheck source=say.sh
. /usr/lib/imgbuild/say.sh

stop() {
    mkdir -p /run/imgbuild
    echo "$*" > /run/imgbuild/stop
    exit 1
}

kernel_argument() {
    local arg
    for arg in $(< /proc/cmdline); do
        [[ $arg == "$1="* ]] && { echo "${arg#*=}"; return; }
    done
}

# The root partition's UUID is the first half of the root hash (Discoverable
# Partitions Specification), and state is on the same disk: a second disk that
# carries another image cannot be taken for it.
find_root_disk() {
    local hash uuid dev
    hash=$(kernel_argument roothash)
    [[ ${#hash} -ge 64 ]] || stop "the kernel command line has no roothash=: this is not an image of imgbuild"
    uuid=${hash:0:8}-${hash:8:4}-${hash:12:4}-${hash:16:4}-${hash:20:12}
    udevadm wait --timeout=120 "/dev/disk/by-partuuid/$uuid" ||
        stop "no root partition $uuid after 120 s: is the disk attached, and is its driver in the initramfs?"
    dev=$(readlink -f "/dev/disk/by-partuuid/$uuid")
    disk=/dev/$(basename "$(readlink -f "/sys/class/block/${dev#/dev/}/..")")
}

find_state() {
    local entry name
    udevadm settle --timeout=30
    for entry in /sys/class/block/"${disk#/dev/}"/"${disk#/dev/}"*; do
        name=$(sed -n 's/^PARTNAME=//p' "$entry/uevent")
        if [[ $name == imgbuild-state ]]; then
            state=/dev/${entry##*/}
            number=$(< "$entry/partition")
            return
        fi
    done
    stop "no partition named imgbuild-state on $disk: refusing to boot, since an empty state would look like a new node; restore the disk or install the node again"
}

# Grows the partition to the end of the disk where more than 1 MiB is free
# behind it. The table's backup moves to the disk's end with it.
grow_partition() {
    local sys=/sys/class/block end size
    size=$(< "$sys/${disk#/dev/}/size")
    end=$(( $(< "$sys/${state#/dev/}/start") + $(< "$sys/${state#/dev/}/size") ))
    (( size - end > 2048 + 34 )) || return 0
    echo ',+' | sfdisk --quiet --force --no-reread --no-tell-kernel -N "$number" "$disk" ||
        stop "could not grow partition $state on $disk"
    partx --update --nr "$number" "$disk" || stop "the kernel did not take the new size of $state"
    # Writing the table makes udev look at every partition again, during which
    # their links are gone: the root's, too.
    udevadm settle --timeout=30
    say "state: grew $state to $(( $(< "$sys/${state#/dev/}/size") / 2048 )) MiB"
}

mount_state() {
    local rc=0
    e2fsck -p "$state" > /run/imgbuild/e2fsck.log 2>&1 || rc=$?
    # 1: errors were corrected, 2: and a reboot is advised for a mounted one.
    (( rc < 4 )) || stop "file system check of $state failed (e2fsck exit $rc): $(tail -n 1 /run/imgbuild/e2fsck.log)"
    mkdir -p /run/imgbuild/state
    mount -t ext4 -o rw,noatime "$state" /run/imgbuild/state || stop "could not mount $state as ext4"
    resize2fs "$state" > /run/imgbuild/resize2fs.log 2>&1 ||
        stop "could not grow the file system on $state: $(tail -n 1 /run/imgbuild/resize2fs.log)"
}

# Without the marker Ignition has not finished: it starts again on a clean
# /etc, so a power cut in its middle leaves nothing behind.
decide_first_boot() {
    local top=/run/imgbuild/state
    if [[ -e $top/ignition.done ]]; then
        say "state: $state, Ignition has run before"
        return
    fi
    rm -rf "$top/etc/upper" "$top/etc/work"
    : > /run/imgbuild/first-boot
    say "state: $state, first boot"
}

# The installer leaves the config on state. Ignition looks for one of this name
# before it asks any platform.
take_config() {
    local config=/run/imgbuild/state/ignition.ign
    [[ -s $config ]] || return 1
    # /usr is read-only here, too: Ignition finds a link to this file.
    cat "$config" > /run/imgbuild/user.ign || stop "could not read the config that the installation left on state"
    echo "PLATFORM_ID=metal" > /run/ignition.env
    say "platform: metal, with the config of the installation"
}

# The first line of the table whose file holds the pattern names the platform.
detect_platform() {
    local platform file pattern id
    id=$(kernel_argument ignition.platform.id)
    modprobe -q qemu_fw_cfg
    while [[ -z $id ]] && read -r platform file pattern; do
        [[ $platform == \#* || -z $platform ]] && continue
        # shellcheck disable=SC2053 # the table's third column is a glob
        if [[ $pattern == exists ]]; then
            [[ -e $file ]] && id=$platform
        elif [[ -r $file && $(tr -d '\0' < "$file") == $pattern ]]; then
            id=$platform
        fi
    done < /usr/lib/imgbuild/platforms
    echo "PLATFORM_ID=$id" > /run/ignition.env
    say "platform: $id"
}

mkdir -p /run/imgbuild
# From here on the console is for what the boot and the agent say: a kernel
# that remarks on a device would write into the middle of their lines. Its
# errors are still shown, and its log has everything.
echo 4 > /proc/sys/kernel/printk
find_root_disk
find_state
grow_partition
mount_state
decide_first_boot
[[ ! -e /run/imgbuild/first-boot ]] || take_config || detect_platform
[[ -e /run/ignition.env ]] || echo "PLATFORM_ID=metal" > /run/ignition.env
