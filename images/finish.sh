#!/bin/sh
# Inside the tree: strip what differs per machine, leave disabled what a step enables, trim the boot.
set -eu
images=/tmp/images
entries() { sed -e '/^#/d' -e '/^$/d' "$1"; }

mv /usr/local/lib/halab/systemd-sysv-install /usr/lib/systemd/systemd-sysv-install
systemctl preset-all
systemctl set-default multi-user.target
# The masked generator would have pulled cloud-init in; dbus starts from its socket when someone speaks to it.
mkdir -p /etc/systemd/system/multi-user.target.wants
ln -sf /usr/lib/systemd/system/cloud-init.target /etc/systemd/system/multi-user.target.wants/cloud-init.target
rm -f /usr/lib/systemd/system/multi-user.target.wants/dbus.service
for unit in $(entries $images/masked-units.list); do
	rm -rf "/etc/systemd/system/$unit"
	ln -s /dev/null "/etc/systemd/system/$unit"
done
mkdir -p /etc/systemd/system-generators /etc/udev/rules.d /etc/tmpfiles.d
for generator in $(entries $images/masked-generators.list); do ln -sf /dev/null "/etc/systemd/system-generators/$generator"; done
for rules in $(entries $images/masked-udev-rules.list); do ln -sf /dev/null "/etc/udev/rules.d/$rules"; done
# It writes /run/nologin, which only the masked systemd-user-sessions would remove.
ln -sf /dev/null /etc/tmpfiles.d/systemd-nologin.conf

# sshd runs without PAM, which refuses accounts whose password field begins with an exclamation mark.
usermod -p '*' root
rm -f /etc/ssh/ssh_host_* /etc/hostname /var/lib/systemd/random-seed /var/lib/rabbitmq/.erlang.cookie
rm -f /etc/machine-id /var/lib/dbus/machine-id
: >/etc/machine-id
mkdir -p /var/lib/dbus
ln -s /etc/machine-id /var/lib/dbus/machine-id
rm -f /etc/cloud/cloud.cfg.d/05_logging.cfg
: >/etc/fstab
printf '127.0.0.1 localhost\n::1 localhost\n' >/etc/hosts
# ifupdown's rendering of a gateway calls net-tools' route.
ln -s /usr/bin/busybox /usr/sbin/route
printf 'auto lo\niface lo inet loopback\nsource /etc/network/interfaces.d/*\n' >/etc/network/interfaces

python3 -m compileall -q -j 0 /usr/lib/python3 "/usr/lib/python3.$(python3 -c 'import sys; print(sys.version_info.minor)')" >/dev/null || true
if [ -d /usr/share/fence ]; then python3 -m compileall -q /usr/share/fence; fi

rm -f /usr/sbin/policy-rc.d /var/cache/apt/*.bin /var/cache/debconf/*-old /var/lib/dpkg/*-old
rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/* /var/log/apt /var/log/dpkg.log /var/log/alternatives.log /var/log/bootstrap.log
touch /etc/.updated /var/.updated
