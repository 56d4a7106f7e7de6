#!/bin/sh
# Inside the controller's tree: what would cost minutes under emulation and needs no secret.
# A data directory with the schemas of the APIs in it (`db_sync` takes a guest a minute each), and the same schemas as
# SQL in /usr/share/halab/schema for a database that lives elsewhere. No account but root@localhost and
# clustercheck@localhost, both over the socket.
set -eu
install -m 0644 /tmp/images/controller/halab_lazy.py /tmp/images/controller/halab_lazy.pth /usr/lib/python3/dist-packages/
python3 -m py_compile /usr/lib/python3/dist-packages/halab_lazy.py
python3 -c "import sys, keystone.server.wsgi
assert 'saml2.sigver' not in sys.modules, 'keystone starts with SAML loaded: does halab_lazy name the right module?'
from keystone.federation import idp
assert idp.SAMLGenerator and 'saml2.sigver' in sys.modules"
# The galera agent logs here; Debian's package leaves it to the journal.
install -d -m 2750 -o mysql -g adm /var/log/mysql
data=/var/lib/mysql
schemas=/usr/share/halab/schema
socket=/run/mysqld/mysqld.sock
# A small redo log: it is copied by every state transfer.
options="--user=mysql --datadir=$data --innodb-log-file-size=16M"
rm -rf "${data:?}"/*
# shellcheck disable=SC2086
mariadb-install-db $options --auth-root-authentication-method=socket --skip-test-db >/dev/null
install -d -m 0755 -o mysql -g mysql /run/mysqld
# As a Galera cluster of one, in a network of its own: every guest's data directory is then the same position in one
# history, and members join by what was written since (IST) instead of copying all files (SST).
galera="--wsrep-on=ON --wsrep-provider=/usr/lib/galera/libgalera_smm.so --wsrep-new-cluster --wsrep-cluster-address=gcomm://
	--wsrep-node-address=127.0.0.1 --binlog-format=ROW --innodb-autoinc-lock-mode=2
	--wsrep-provider-options=gcache.size=8M;gmcast.listen_addr=tcp://127.0.0.1:4567"
# shellcheck disable=SC2016,SC2086
unshare -n sh -c 'ip link set lo up && exec mariadbd "$@"' sh $options $galera --skip-networking --socket=$socket \
	--pid-file=/run/mysqld/build.pid --innodb-flush-log-at-trx-commit=0 &
server=$!
trap 'kill $server; wait $server' EXIT
mariadb-admin --socket=$socket --wait=60 --silent ping
tries=0
until mariadb --socket=$socket -N -B -e "SHOW STATUS LIKE 'wsrep_local_state_comment'" | grep -q Synced; do
	tries=$((tries + 1))
	[ $tries -lt 300 ]
	sleep 0.1
done

sync_schema() { # DATABASE USER COMMAND...
	database=$1
	user=$2
	shift 2
	mariadb --socket=$socket -e "CREATE DATABASE $database CHARACTER SET utf8mb4;
		CREATE USER $user@localhost IDENTIFIED VIA unix_socket; GRANT ALL ON $database.* TO $user@localhost"
	printf '[DEFAULT]\nlog_dir =\nuse_stderr = true\n[database]\nconnection = mysql+pymysql://%s@localhost/%s?unix_socket=%s\n[placement_database]\nconnection = mysql+pymysql://%s@localhost/%s?unix_socket=%s\n' \
		"$user" "$database" "$socket" "$user" "$database" "$socket" >/tmp/sync.conf
	runuser -u "$user" -- "$@"
	# stevedore keeps the entry points of all packages in the user's home, for programs in /usr/bin: scan them here.
	runuser -u "$user" -- env HOME="$(getent passwd "$user" | cut -d: -f6)" python3 -c \
		"import sys; sys.path[0] = '/usr/bin'; from stevedore import _cache; _cache.get_group_all('halab')"
	mariadb --socket=$socket -e "DROP USER $user@localhost"
	# Which versions these packages make it: a guest whose database is there has nothing to synchronise.
	mariadb --socket=$socket -N -B -e "SELECT version_num FROM $database.alembic_version ORDER BY 1" >"$schemas/$database"
	mariadb-dump --socket=$socket --skip-dump-date "$database" >"$schemas/$database.sql"
}
mkdir -p $schemas
sync_schema keystone keystone keystone-manage --config-file /tmp/sync.conf db_sync
sync_schema glance glance glance-manage --config-file /tmp/sync.conf db_sync
sync_schema placement placement placement-manage --config-file /tmp/sync.conf db sync

# The state check's account: the socket tells MariaDB which system user asks, so there is no password.
useradd --system --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin --gid nogroup clustercheck
mariadb --socket=$socket -e 'CREATE USER clustercheck@localhost IDENTIFIED VIA unix_socket'

trap - EXIT
mariadb-admin --socket=$socket shutdown
wait $server
# Which member makes the cluster is the cluster's choice, not the image's.
sed -i 's/^safe_to_bootstrap: .*/safe_to_bootstrap: 0/' $data/grastate.dat
grep -q '^seqno:   [1-9]' $data/grastate.dat
rm -rf $data/galera.cache $data/gvwstate.dat
rm -rf $data/ib_buffer_pool $data/*.err $data/multi-master.info /run/mysqld
install -m 0644 /dev/null "$data/debian-$(mariadbd --version | sed 's/.*Ver \([0-9]*\.[0-9]*\).*/\1/').flag"
