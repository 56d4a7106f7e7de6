#!/bin/sh
# Inside the controller's tree: what would cost minutes under emulation and needs no secret.
set -eu
# The galera agent logs here; Debian's package leaves it to the journal.
install -d -m 2750 -o mysql -g adm /var/log/mysql
# A datadir with a small redo log: it is rewritten at first start and copied by every state transfer.
rm -rf /var/lib/mysql/*
mariadb-install-db --user=mysql --auth-root-authentication-method=socket --skip-test-db --innodb-log-file-size=16M >/dev/null
install -m 0644 /dev/null "/var/lib/mysql/debian-$(mariadbd --version | sed 's/.*Ver \([0-9]*\.[0-9]*\).*/\1/').flag"
