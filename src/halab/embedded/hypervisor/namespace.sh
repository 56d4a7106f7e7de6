#!/bin/sh
# The first program in a stack's mount namespace: binds the stack's folders, leaves the holder behind.
# HALAB_ROOT: the stack's folder; HALAB_HOLDER: the name the holder has in ps.
set -eu
: "${HALAB_ROOT:?}" "${HALAB_HOLDER:?}"

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

bind() {
    [ -d "$2" ] || mkdir -p "$2"
    mount --bind "$HALAB_ROOT/$1" "$2"
}
bind lib /var/lib/libvirt
bind pool /var/lib/libvirt/images
bind etc /etc/libvirt
bind log /var/log/libvirt
bind cache /var/cache/libvirt
ip link set lo up
# last: this is what a member of the stack is known by
bind run /run

# shellcheck disable=SC2016 # $1 is the inner shell's
setsid --fork bash -c 'exec -a "$1" sleep infinity' sh "$HALAB_HOLDER" </dev/null >/dev/null 2>&1
