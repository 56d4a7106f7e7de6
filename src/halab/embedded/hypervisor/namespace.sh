#!/bin/sh
# The first program in a stack's mount namespace: binds the stack's folders, leaves the holder behind.
# HALAB_ROOT: the stack's folder; HALAB_CACHE: what libvirt knows of qemu, common to all stacks;
# HALAB_HOLDER: the name the holder has in ps; HALAB_KVM: yes or no; HALAB_QEMU_GID: the group qemu runs as;
# HALAB_LOCK: the descriptor of the stack's lock, which is held as long as this runs and not by the holder.
set -eu
: "${HALAB_ROOT:?}" "${HALAB_CACHE:?}" "${HALAB_HOLDER:?}" "${HALAB_KVM:?}" "${HALAB_QEMU_GID:?}" "${HALAB_LOCK:?}"

# libvirt sets bridges up through /sys/class/net, and a sysfs shows the network namespace it was mounted in
mkdir -p "$HALAB_ROOT/run/.sys"
mount --rbind /sys "$HALAB_ROOT/run/.sys"
mount -t sysfs sysfs /sys
for part in fs/cgroup kernel/security; do
    if [ -d "$HALAB_ROOT/run/.sys/$part" ] && [ -d "/sys/$part" ]; then
        mount --rbind "$HALAB_ROOT/run/.sys/$part" "/sys/$part"
    fi
done
umount --lazy --recursive "$HALAB_ROOT/run/.sys"
rmdir "$HALAB_ROOT/run/.sys"

# A /dev of the stack's own. libvirt probes qemu anew, 4 s for every VM started, while what qemu finds behind /dev/kvm
# and what the file's mode lets its user do contradict each other: so kvm is open to qemu's group, or is not there.
dev=$HALAB_ROOT/run/.dev
mkdir -p "$dev"
mount -t tmpfs -o mode=0755,size=1m,nosuid tmpfs "$dev"
mkdir -p "$dev/net"
for node in null zero full random urandom tty net/tun vhost-net vhost-vsock; do
    if [ -c "/dev/$node" ]; then cp -a "/dev/$node" "$dev/$node"; fi
done
if [ "$HALAB_KVM" = yes ] && [ -c /dev/kvm ]; then
    cp -a /dev/kvm "$dev/kvm"
    chgrp "$HALAB_QEMU_GID" "$dev/kvm"
    chmod 0660 "$dev/kvm"
fi
mkdir "$dev/pts" "$dev/shm"
mount -t devpts -o newinstance,nosuid,noexec,ptmxmode=0666,mode=0620,gid=tty devpts "$dev/pts"
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$dev/shm"
ln -s pts/ptmx "$dev/ptmx"
ln -s /proc/self/fd "$dev/fd"
# unmounted, not covered: libvirt moves every mount it sees below /dev
if mountpoint --quiet /dev; then umount --lazy --recursive /dev; fi
mount --move "$dev" /dev
rmdir "$dev"

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

# shellcheck disable=SC2016 # $1 and $2 are the inner shell's
setsid --fork bash -c 'lock=$2; exec {lock}>&-; exec -a "$1" sleep infinity' sh "$HALAB_HOLDER" "$HALAB_LOCK" \
    </dev/null >/dev/null 2>&1
