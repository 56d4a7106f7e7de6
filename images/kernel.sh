#!/bin/sh
# Inside the tree: kernel, initrd and package list to /tmp/out, then the kernel's files leave the tree (it boots directly).
set -eu
images=/tmp/images
out=/tmp/out
version=$(ls /lib/modules)
# Decompressed once here instead of at every modprobe in the guest.
find "/lib/modules/$version" -name '*.ko.xz' -print0 | xargs -0 -r -P 2 -n 64 busybox unxz
depmod "$version"

initrd=/tmp/initrd
mkdir -p $initrd/bin $initrd/dev $initrd/proc $initrd/sys $initrd/root $initrd/seed $initrd/modules
cp /bin/busybox $initrd/bin/busybox
install -m 0755 $images/initrd/init $initrd/init
sed -e '/^#/d' -e '/^$/d' $images/initrd/modules.list >$initrd/modules.order
while read -r module; do
	cp "$(modinfo -k "$version" -F filename "$module")" "$initrd/modules/$module.ko"
done <$initrd/modules.order
(cd $initrd && find . | sort | busybox cpio -o -H newc 2>/dev/null) >$out/initrd

cp "/boot/vmlinuz-$version" $out/vmlinuz
rm -f /boot/*
dpkg-query -W -f '${Package}\t${Version}\n' >$out/packages
