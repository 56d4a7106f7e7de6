# shellcheck shell=bash
# What `halab recover` does on one node. look: SERVICES; forget: MEMBER.

DATA=/var/lib/mysql
# Debian's unit leaves here how far a start that did not succeed found the data to be.
TRIED=/run/mysqld/wsrep-start-position
QUEUE=/var/lib/rabbitmq/mnesia

state_of() { sed -n "s/^$1: *//p" "$DATA/grastate.dat"; }

status() { timeout 20 mysql --connect-timeout=10 -N -B -e "SHOW GLOBAL STATUS LIKE '$1'" | cut -f2; }

look_galera() {
    say "mariadb=$(systemctl is-active mariadb)"
    if [ -e "$DATA/galera.cache" ]; then
        say member=yes
    fi
    if [ -S /run/mysqld/mysqld.sock ] && component=$(status wsrep_cluster_status) && [ -n "$component" ]; then
        say "component=$component"
        say "state=$(status wsrep_local_state_comment)"
        say "uuid=$(status wsrep_local_state_uuid)"
        say "committed=$(status wsrep_last_committed)"
        return
    fi
    say "uuid=$(state_of uuid)"
    say "seqno=$(state_of seqno)"
    say "last=$(state_of safe_to_bootstrap)"
    if [ -e "$TRIED" ]; then
        say "recovered=$(sed -n 's/.*wsrep_start_position=[0-9a-f-]*://p' "$TRIED")"
    fi
}

members_in() { grep -o 'rabbit@[a-z0-9-]*' "$1" | sort -u | sed 's/^rabbit@//' | tr '\n' ' '; }

look_rabbitmq() {
    local data=$QUEUE/rabbit@$HOSTNAME
    say "rabbitmq=$(systemctl is-active rabbitmq-server)"
    if [ -n "$(ss -Htn state listening '( sport = :5672 or sport = :5671 )')" ]; then
        say listens=yes
    fi
    if [ -e "$data/cluster_nodes.config" ]; then
        say "members=$(members_in "$data/cluster_nodes.config")"
        say "running=$(members_in "$data/nodes_running_at_shutdown")"
    fi
}

look() {
    local service
    for service in $SERVICES; do
        "look_$service" || say "$service=unknown"
    done
}

# How far the data of a member that does not serve goes: Debian's own program, which the unit runs at every start too.
position() {
    local found
    systemctl stop mariadb
    found=$(galera_recovery) || fail "galera_recovery failed; see $HALAB_LOG/$HALAB_STEP.log"
    systemctl start --no-block mariadb
    say "recovered=${found##*:}"
}

synced() {
    local component state
    [ -S /run/mysqld/mysqld.sock ] || {
        printf 'mariadb is %s\n' "$(systemctl is-active mariadb)"
        return 1
    }
    component=$(status wsrep_cluster_status) && state=$(status wsrep_local_state_comment) || return 1
    printf '%s, %s\n' "$component" "$state"
    [ "$component $state" = 'Primary Synced' ]
}

# Galera ignores it while the members' view is changing.
promoted() {
    if ! synced; then
        mysql -e 'SET GLOBAL wsrep_provider_pc_bootstrap = ON'
        return 1
    fi
}

# A member that still runs, without a quorum, makes the cluster without being stopped.
first_galera() {
    if [ "$(status wsrep_cluster_status 2>/dev/null)" = non-Primary ]; then
        retry_until 300 "a primary component" promoted
    else
        systemctl stop mariadb
        sed -i 's/^safe_to_bootstrap: 0/safe_to_bootstrap: 1/' "$DATA/grastate.dat"
        trap 'rm -f /run/mysqld/wsrep-new-cluster' EXIT
        printf '_WSREP_NEW_CLUSTER=--wsrep-new-cluster\n' >/run/mysqld/wsrep-new-cluster
        systemctl start mariadb || fail "mariadb did not start; see journalctl -u mariadb"
        retry_until 300 "a primary component" synced
    fi
    say "galera: $HOSTNAME made the cluster"
}

halt_galera() { systemctl stop mariadb; }

# Its start may fail until the others have noticed that it is gone; the unit tries again.
join_galera() {
    systemctl start --no-block mariadb
    retry_until 900 "this node to be Synced" synced
    say "galera: $HOSTNAME is synced"
}

# Without its state file a member takes all data from the others.
aside_galera() {
    systemctl stop mariadb
    mv "$DATA/grastate.dat" "$DATA/grastate.dat.$(date -u +%Y%m%dT%H%M%S)"
    say "galera: $HOSTNAME takes the others' data"
}

listens() { [ -n "$(ss -Htn state listening '( sport = :5672 )')" ]; }

force_rabbitmq() {
    systemctl stop rabbitmq-server
    # What `rabbitmqctl force_boot` leaves for a node that does not run.
    install -m 0640 -o rabbitmq -g rabbitmq /dev/null "$QUEUE/rabbit@$HOSTNAME/force_load"
    join_rabbitmq
}

join_rabbitmq() {
    systemctl start --no-block rabbitmq-server
    retry_until 900 "RabbitMQ to listen" listens
    say "rabbitmq: $HOSTNAME runs"
}

aside_rabbitmq() {
    systemctl stop rabbitmq-server
    mv "$QUEUE" "$QUEUE.$(date -u +%Y%m%dT%H%M%S)"
    say "rabbitmq: $HOSTNAME joins as an empty member"
}

forget() {
    rabbitmqctl --quiet forget_cluster_node "rabbit@$MEMBER" || printf 'rabbit@%s was not known\n' "$MEMBER"
    say "rabbitmq: $MEMBER is forgotten"
}

halt_arbiter() { systemctl stop garb; }

arbitrate() {
    systemctl start garb || fail "garb did not start; see journalctl -u garb"
    say "garbd: $HOSTNAME votes"
}
