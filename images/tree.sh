# Sourced by the layer and image scripts: a Debian tree as a directory, entered as a chroot.

unpack_tree() { # TAR ROOT
	mkdir -p "$2"
	zstd -q -d -c "$1" | tar -C "$2" --numeric-owner --xattrs --xattrs-include='*' -xpf -
}

pack_tree() { # ROOT TAR
	tar -C "$1" --numeric-owner --one-file-system --xattrs --xattrs-include='*' -cf - . | zstd -q -1 -T0 -f -o "$2"
}

enter_tree() { # ROOT
	mount -t proc proc "$1/proc"
	mount -t tmpfs -o mode=0755 tmpfs "$1/run"
	mount -t tmpfs -o mode=1777 tmpfs "$1/tmp"
	mount -t tmpfs -o mode=0755 tmpfs "$1/dev"
	for node in null zero full random urandom tty; do
		: >"$1/dev/$node"
		mount --bind "/dev/$node" "$1/dev/$node"
	done
	ln -s /proc/self/fd "$1/dev/fd"
	mkdir -m 1777 "$1/dev/shm"
	mkdir -p "$1/run/lock"
	cp -L /etc/resolv.conf "$1/etc/resolv.conf"
}

leave_tree() { # ROOT
	for node in null zero full random urandom tty; do umount "$1/dev/$node"; done
	umount "$1/dev" "$1/tmp" "$1/run" "$1/proc"
}

in_tree() { # ROOT COMMAND...
	tree=$1
	shift
	chroot "$tree" env -i PATH=/usr/sbin:/usr/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"
}
