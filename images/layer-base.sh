#!/bin/sh
# The tree every image starts from. Runs on the host, in namespaces of its own.
# In: SUITE, PACKAGES (comma separated), MIRROR (may be empty), DEBS (directory of downloaded packages), OUT (.tar.zst).
set -eu
export DEBS
# Hooks run with the tree as $1; packages are hard links between the tree's archives and $DEBS.
# shellcheck disable=SC2016
exec mmdebstrap --variant=apt --format=tar \
	--skip=download/empty --skip=essential/unlink --skip=cleanup/apt \
	--aptopt='APT::Install-Recommends "false"' \
	--aptopt='Acquire::Languages "none"' \
	--dpkgopt=force-unsafe-io \
	--dpkgopt=force-confold \
	--dpkgopt='path-exclude=/usr/share/man/*' \
	--dpkgopt='path-exclude=/usr/share/locale/*' \
	--dpkgopt='path-exclude=/usr/share/doc/*' \
	--dpkgopt='path-include=/usr/share/doc/*/copyright' \
	--dpkgopt='path-exclude=/etc/kernel/postinst.d/initramfs-tools' \
	--setup-hook='mkdir -p "$1/usr/sbin" "$1/var/cache/apt/archives"' \
	--setup-hook='find "$DEBS" -name "*.deb" -exec cp -l -t "$1/var/cache/apt/archives" {} +' \
	--setup-hook='printf "#!/bin/sh\nexit 101\n" >"$1/usr/sbin/policy-rc.d"; chmod 755 "$1/usr/sbin/policy-rc.d"' \
	--customize-hook='for deb in "$1"/var/cache/apt/archives/*.deb; do ln -f "$deb" "$DEBS/"; rm "$deb"; done' \
	--include="$PACKAGES" \
	"$SUITE" "$OUT" ${MIRROR:+"$MIRROR"}
