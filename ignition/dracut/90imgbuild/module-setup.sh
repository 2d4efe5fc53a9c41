#!/bin/bash
# shellcheck disable=SC2154 # dracut sets the variables that a module reads
# dracut module of imgbuild: finds and grows the state partition, decides
# whether this is a first boot, and lays out /etc, /opt and /var, so that the
# stock Ignition module finds a root it can write to.

check() {
    # Only where it is asked for by name.
    return 255
}

depends() {
    echo ignition systemd systemd-veritysetup
}

installkernel() {
    # overlay: /etc and /opt; ext4: state; erofs: root; qemu_fw_cfg: platform.
    hostonly='' instmods overlay ext4 erofs dm_verity qemu_fw_cfg
}

install() {
    local unit
    inst_multiple sfdisk partx e2fsck resize2fs blkid ip udevadm mount \
        basename cat grep journalctl mkdir modprobe mv readlink rm sed sleep sync \
        systemctl tail tr
    inst_simple "$moddir/say.sh" /usr/lib/imgbuild/say.sh
    inst_script "$moddir/state.sh" /usr/lib/imgbuild/state.sh
    inst_script "$moddir/layout.sh" /usr/lib/imgbuild/layout.sh
    inst_script "$moddir/done.sh" /usr/lib/imgbuild/done.sh
    inst_script "$moddir/stop.sh" /usr/lib/imgbuild/stop.sh
    inst_simple "$moddir/platforms" /usr/lib/imgbuild/platforms

    # The kernel's command line starts this instead of all the rest, on a machine
    # that has started from the network.
    inst_simple "$moddir/imgbuild-install" /usr/lib/imgbuild/imgbuild-install
    # Where Ignition looks before it asks any platform; state.sh makes the file.
    mkdir -p "$initdir/usr/lib/ignition"
    ln -s /run/imgbuild/user.ign "$initdir/usr/lib/ignition/user.ign"
    for unit in service target; do
        inst_simple "$moddir/imgbuild-install.$unit" "$systemdsystemunitdir/imgbuild-install.$unit"
    done

    for unit in state layout "done"; do
        inst_simple "$moddir/imgbuild-$unit.service" "$systemdsystemunitdir/imgbuild-$unit.service"
    done
    $SYSTEMCTL -q --root="$initdir" add-requires initrd.target imgbuild-state.service || exit 1
    $SYSTEMCTL -q --root="$initdir" add-requires initrd-root-fs.target imgbuild-layout.service || exit 1
    $SYSTEMCTL -q --root="$initdir" add-requires ignition-complete.target imgbuild-done.service || exit 1

    # Growing the partition makes the links of the others come and go.
    inst_simple "$moddir/after-state.conf" \
        "$systemdsystemunitdir/systemd-veritysetup@root.service.d/50-imgbuild.conf"

    # A failed boot says why and stays: nobody could log in to a shell.
    for unit in emergency.service dracut-emergency.service; do
        rm -f "$initdir$systemdsystemunitdir/$unit"
        inst_simple "$moddir/imgbuild-stop.service" "$systemdsystemunitdir/$unit"
    done

    # The stock generator decides by a kernel argument, before any disk is
    # there. Ours is a file on state: every stage is queued at every boot and
    # skipped where imgbuild-state.service did not ask for Ignition.
    rm -f "$initdir$systemdutildir/system-generators/ignition-generator"
    $SYSTEMCTL -q --root="$initdir" add-requires initrd.target ignition-complete.target || exit 1
    for unit in fetch-offline fetch kargs disks mount files; do
        inst_simple "$moddir/first-boot.conf" \
            "$systemdsystemunitdir/ignition-$unit.service.d/50-imgbuild.conf"
    done
    # The root is read-only for good; layout.sh gives Ignition what it writes to.
    rm -f "$initdir$systemdsystemunitdir/ignition-remount-sysroot.service" \
        "$initdir$systemdsystemunitdir"/ignition-diskful.target.requires/ignition-remount-sysroot.service
}
