#!/bin/sh
# A layer's tree to a bootable image. Runs on the host, in mount and pid namespaces of its own.
# In: LAYER (.tar.zst), NAME, SIZE (bytes of the root disk), WORK (empty directory), OUT (directory).
# Out: OUT/root.qcow2, OUT/vmlinuz, OUT/initrd, OUT/packages (name, tab, version per line).
set -eu
here=$(dirname "$0")
. "$here/tree.sh"
root=$WORK/root
unpack_tree "$LAYER" "$root"
enter_tree "$root"
cp -a "$here/files/." "$root/"
chown -R 0:0 "$root/etc/ssh/sshd_config" "$root/etc/cloud/cloud.cfg" "$root/etc/systemd" "$root/usr/local/lib/halab"
mkdir "$root/tmp/images" "$root/tmp/out"
cp -a "$here/." "$root/tmp/images/"
in_tree "$root" sh /tmp/images/finish.sh
if [ -e "$here/$NAME.sh" ]; then in_tree "$root" sh "/tmp/images/$NAME.sh"; fi
in_tree "$root" sh /tmp/images/kernel.sh
cp "$root"/tmp/out/* "$OUT/"
leave_tree "$root"
: >"$root/etc/resolv.conf"

# No metadata checksums: computing crc32c for every block is dear under emulation. Tables are written now, not by the guest.
truncate -s "$SIZE" "$WORK/root.raw"
mke2fs -q -F -t ext4 -L halab-root -d "$root" -m 0 -N 262144 -J size=64 \
	-O ^metadata_csum,^64bit,^orphan_file -E lazy_itable_init=0,lazy_journal_init=0 "$WORK/root.raw"
qemu-img convert -f raw -O qcow2 -o compat=1.1,lazy_refcounts=on "$WORK/root.raw" "$OUT/root.qcow2"
