#!/bin/sh
# A layer's tree plus packages. Runs on the host, in mount and pid namespaces of its own.
# In: BASE (.tar.zst), PACKAGES (space separated), DEBS, WORK (empty directory), OUT (.tar.zst).
# Progress: apt's status lines on file descriptor 3.
set -eu
. "$(dirname "$0")/tree.sh"
root=$WORK/root
unpack_tree "$BASE" "$root"
enter_tree "$root"
find "$DEBS" -name '*.deb' -exec cp -l -t "$root/var/cache/apt/archives" {} +
install_packages() {
	# shellcheck disable=SC2086
	in_tree "$root" apt-get -q -y -o APT::Keep-Downloaded-Packages=true -o APT::Status-Fd=3 -o Dpkg::Use-Pty=0 \
		install $PACKAGES
}
# The package index is as old as the base layer: refresh it only when a package has moved on since.
install_packages || { in_tree "$root" apt-get -q update && install_packages; }
for deb in "$root"/var/cache/apt/archives/*.deb; do
	ln -f "$deb" "$DEBS/"
	rm "$deb"
done
leave_tree "$root"
pack_tree "$root" "$OUT"
