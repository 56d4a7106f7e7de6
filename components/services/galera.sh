# shellcheck shell=bash
# Galera on one node. CA_FILE, CERTIFICATE, CONFIG, ADDRESS, MEMBERS, CHECK_PORT; start: BOOTSTRAP;
# databases: DATABASES (name:SECRET ...); ready: SIZE.

configure() {
    secret_file CA_PEM "$CA_FILE" root root 0644
    secret_file ENDPOINT_PEM "$CERTIFICATE" root mysql 0640
    install -d -m 2750 -o mysql -g adm /var/log/mysql
    getent passwd clustercheck >/dev/null ||
        useradd --system --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin --gid nogroup clustercheck
    reload_units galera-check.service mariadb.service
    converge_unit galera-check.service /etc/systemd/system/galera-check.service /usr/local/lib/halab/galera_check.py
    say "galera: configured"
}

status() { mysql --connect-timeout=10 -N -B -e "SHOW GLOBAL STATUS LIKE '$1'" | cut -f2; }

synced() {
    local state
    [ -S /run/mysqld/mysqld.sock ] || {
        printf 'MariaDB has not made its socket yet\n'
        return 1
    }
    state=$(status wsrep_local_state_comment) || return 1
    printf 'local state %s\n' "$state"
    [ "$state" = Synced ]
}

# serves ADDRESS: the member's check says 200. Without curl: this is asked again and again.
serves() {
    local line=''
    exec 5<>"/dev/tcp/$1/$CHECK_PORT" || return 1
    printf 'GET / HTTP/1.0\r\n\r\n' >&5
    IFS= read -r -t 10 line <&5
    exec 5>&-
    printf '%s: %s\n' "$1" "${line%$'\r'}"
    [[ $line == 'HTTP/'*' 200 '* ]]
}

elsewhere() {
    local member
    for member in $MEMBERS; do
        if [ "$member" != "$ADDRESS" ] && (serves "$member"); then
            return 0
        fi
    done
    return 1
}

# holds_data ADDRESS: the member's check says that it does not serve, and was a member before.
holds_data() {
    local answer=''
    exec 5<>"/dev/tcp/$1/$CHECK_PORT" || return 1
    printf 'GET / HTTP/1.0\r\n\r\n' >&5
    IFS= read -r -d '' -t 10 answer <&5 || :
    [[ $answer == *'holds data' ]]
}

# A new cluster loses nothing if no member was ever in one (no cache), or if this one was the last to leave.
may_bootstrap() {
    local state=/var/lib/mysql/grastate.dat member
    [ -e "$state" ] || return 0
    if [ ! -e /var/lib/mysql/galera.cache ]; then
        for member in $MEMBERS; do
            if [ "$member" != "$ADDRESS" ] && (holds_data "$member"); then
                return 1
            fi
        done
        sed -i 's/^safe_to_bootstrap: 0/safe_to_bootstrap: 1/' "$state"
    fi
    grep -q '^safe_to_bootstrap: 1' "$state"
}

# Without Pacemaker one member, BOOTSTRAP, makes the cluster, and only while no other is up. The unit reads the file on
# its way up and removes it; one that stays would make another cluster at the next start.
start() {
    if [ -n "$BOOTSTRAP" ] && ! systemctl is-active --quiet mariadb && ! elsewhere; then
        may_bootstrap || fail "no member is up, and this one was not the last to go down; run ./halab recover"
        trap 'rm -f /run/mysqld/wsrep-new-cluster' EXIT
        printf '_WSREP_NEW_CLUSTER=--wsrep-new-cluster\n' >/run/mysqld/wsrep-new-cluster
    fi
    # A busy guest may not reach the others in the half minute that Galera gives it; its unit tries again. Whom it looks
    # for when it starts is no reason to restart it.
    (converge_unit mariadb.service <(grep -v '^wsrep_cluster_address' "$CONFIG") "$CERTIFICATE" 4>&1) ||
        printf 'the unit goes on trying\n'
    retry_until 900 "this node to be Synced" synced
    say "galera: synced"
}

statements() {
    local pair name
    printf "CREATE USER IF NOT EXISTS clustercheck@localhost IDENTIFIED VIA unix_socket;\n"
    for pair in $DATABASES; do
        name=${pair%%:*}
        printf 'CREATE DATABASE IF NOT EXISTS %s CHARACTER SET utf8mb4;\n' "$name"
        printf "CREATE USER IF NOT EXISTS '%s'@'%%' IDENTIFIED BY '%s' REQUIRE SSL;\n" "$name" "$(secret "${pair#*:}")"
        printf "ALTER USER '%s'@'%%' IDENTIFIED BY '%s' REQUIRE SSL;\n" "$name" "$(secret "${pair#*:}")"
        printf "GRANT ALL ON %s.* TO '%s'@'%%';\n" "$name" "$name"
    done
}

databases() {
    retry_until 900 "this node to be Synced in a primary component" synced
    statements | mysql --connect-timeout=10 || fail "the databases' users were not made; see $HALAB_LOG/$HALAB_STEP.log"
    retry_until 60 "the check on port $CHECK_PORT" serves "$ADDRESS"
    say "galera: a primary component, $(wc -w <<<"$DATABASES") databases"
}

complete() {
    local size member
    for member in $MEMBERS; do
        serves "$member" || return 1
    done
    size=$(status wsrep_cluster_size) || return 1
    printf '%s members of %s\n' "$size" "$SIZE"
    # One whose VM is about to go may still be there.
    ((size >= SIZE))
}

ready() {
    retry_until 900 "all members synced" complete
    say "galera: $SIZE members synced"
}

member() {
    retry_until 900 "the member at $ADDRESS" serves "$ADDRESS"
    say "galera: $ADDRESS serves"
}
