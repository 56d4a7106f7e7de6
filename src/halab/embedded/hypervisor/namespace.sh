#!/bin/sh
# The first program in a stack's mount namespace: binds the stack's folders, leaves the holder behind.
# HALAB_ROOT: the stack's folder; HALAB_CACHE: what libvirt knows of qemu, common to all stacks;
# HALAB_HOLDER: the name the holder has in ps; HALAB_KVM: yes or no; HALAB_QEMU_GID: the group qemu runs as.
set -eu
: "${HALAB_ROOT:?}" "${HALAB_CACHE:?}" "${HALAB_HOLDER:?}" "${HALAB_KVM:?}" "${HALAB_QEMU_GID:?}"

# libvirt sets bridges up through /sys/class/net, and a sysfs shows the network namespace it was mounted in
mkdir -p "$HALAB_ROOT/run/.sys"
mount --rbind /sys "$HALAB_ROOT/run/.sys"
mount -t sysfs sysfs /sys
for part in fs/cgroup kernel/security; do
    if [ -d "$HALAB_ROOT/run/.sys/$part" ] && [ -d "/sys/$part" ]; then
        mount --rbind "$HALAB_ROOT/run/.sys/$part" "/sys/$part"
    fi
done
umount --lazy "$HALAB_ROOT/run/.sys"
rmdir "$HALAB_ROOT/run/.sys"

# libvirt probes qemu anew (4 s for every VM started) while what qemu can do with /dev/kvm and what the file's mode
# lets its user do contradict each other: so it is either the device, open to qemu's group, or a plain file
if [ -c /dev/kvm ]; then
    mkdir -p "$HALAB_ROOT/run/.dev"
    mount -t tmpfs -o mode=0700,size=64k tmpfs "$HALAB_ROOT/run/.dev"
    if [ "$HALAB_KVM" = yes ]; then
        mknod -m 0660 "$HALAB_ROOT/run/.dev/kvm" c "0x$(stat -c %t /dev/kvm)" "0x$(stat -c %T /dev/kvm)"
        chgrp "$HALAB_QEMU_GID" "$HALAB_ROOT/run/.dev/kvm"
    else
        : >"$HALAB_ROOT/run/.dev/kvm"
        chmod 0600 "$HALAB_ROOT/run/.dev/kvm"
    fi
    mount --bind "$HALAB_ROOT/run/.dev/kvm" /dev/kvm
    umount --lazy "$HALAB_ROOT/run/.dev"
    rmdir "$HALAB_ROOT/run/.dev"
fi

bind() {
    [ -d "$2" ] || mkdir -p "$2"
    mount --bind "$1" "$2"
}
bind "$HALAB_ROOT/lib" /var/lib/libvirt
bind "$HALAB_ROOT/pool" /var/lib/libvirt/images
bind "$HALAB_ROOT/etc" /etc/libvirt
bind "$HALAB_ROOT/log" /var/log/libvirt
bind "$HALAB_CACHE" /var/cache/libvirt
ip link set lo up
# last: this is what a member of the stack is known by
bind "$HALAB_ROOT/run" /run

# shellcheck disable=SC2016 # $1 is the inner shell's
setsid --fork bash -c 'exec -a "$1" sleep infinity' sh "$HALAB_HOLDER" </dev/null >/dev/null 2>&1
