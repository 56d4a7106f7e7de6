# shellcheck shell=bash
# RabbitMQ on one node. configure: MEMBER (the one whose rebuild undoes it), PEERS (name/address ...), PORT; ready:
# MEMBERS (name/address ...), PORT.

COOKIE=/var/lib/rabbitmq/.erlang.cookie
RECORD=/var/lib/rabbitmq/mnesia/rabbit@$HOSTNAME/cluster_nodes.config

configure() {
    secret RABBITMQ_COOKIE | put_file "$COOKIE" rabbitmq rabbitmq 0400
    reload_units rabbitmq-server.service epmd.socket
    converge_unit epmd.socket /etc/systemd/system/epmd.socket.d/halab.conf
    if [ ! -e "$RECORD" ]; then
        be_forgotten
    fi
    say "rabbitmq: configured"
}

# A node that was never in a cluster, or lost its disk: a cluster refuses one that it remembers, so it is to forget it.
# One that is new is not known there, and in a cloud that is new nobody answers.
be_forgotten() {
    local peer
    for peer in $PEERS; do
        if (speaks_amqp "${peer##*/}"); then
            rabbitmqctl --node "rabbit@${peer%%/*}" forget_cluster_node "rabbit@$HOSTNAME" ||
                printf '%s did not know this node\n' "${peer%%/*}"
            return 0
        fi
    done
}

# MEMBER is about to be rebuilt, empty; where Pacemaker rules, it stands by and its RabbitMQ is stopped by now. Best
# effort: in a cluster that goes as a whole nobody needs to forget anybody.
configure_down() {
    if (speaks_amqp "$MEMBER"); then
        rabbitmqctl --node "rabbit@$MEMBER" stop_app || printf 'rabbit@%s does not stop\n' "$MEMBER"
    fi
    if rabbitmqctl forget_cluster_node "rabbit@$MEMBER"; then
        say "rabbitmq: $MEMBER is forgotten"
    else
        say "rabbitmq: $MEMBER is not forgotten; see $HALAB_LOG/$HALAB_STEP.log"
    fi
}

# Only a member's very first start asks for peers: who joins or leaves later is no reason to restart all others at once.
lasting() { grep -Ev '^(cluster_formation\.classic_config\.nodes|quorum_queue\..*target_group_size)' /etc/rabbitmq/rabbitmq.conf; }

start() {
    converge_unit rabbitmq-server.service <(lasting) /etc/rabbitmq/rabbitmq-env.conf "$COOKIE"
    say "rabbitmq: running"
}

# An AMQP listener answers the protocol header with a method frame, whose first octet is 1.
speaks_amqp() {
    local first=''
    exec 5<>"/dev/tcp/$1/$PORT" || return 1
    printf 'AMQP\x00\x00\x09\x01' >&5
    IFS= read -r -N 1 -t 20 first <&5
    [ "$first" = $'\x01' ]
}

# RabbitMQ's own record of who is in the cluster and who of them runs; it rewrites both files at every change.
recorded() {
    local member data=/var/lib/rabbitmq/mnesia/rabbit@$HOSTNAME file
    for file in cluster_nodes.config nodes_running_at_shutdown; do
        for member in $MEMBERS; do
            grep -q "rabbit@${member%%/*}\b" "$data/$file" || {
                printf '%s does not name %s\n' "$file" "${member%%/*}"
                return 1
            }
        done
    done
}

joined() {
    local member
    for member in $MEMBERS; do
        retry_until 900 "AMQP at $member" speaks_amqp "${member##*/}"
    done
    retry_until 300 "one RabbitMQ cluster with $MEMBERS" recorded
}

# Members on record that nobody lists any more.
left() {
    local member
    grep -o 'rabbit@[a-z0-9-]*' "$RECORD" | sort -u | while read -r member; do
        [[ " $MEMBERS" == *" ${member#rabbit@}/"* ]] || printf '%s\n' "$member"
    done
}

# forget NODE: one that still runs is stopped first, through the connection that its cluster has with it, since its name
# leads nowhere any more.
forget() {
    rabbitmqctl forget_cluster_node "$1" && return
    rabbitmqctl eval "rpc:call('$1', rabbit, stop, [], 60000)." || printf '%s does not stop\n' "$1"
    rabbitmqctl forget_cluster_node "$1" || fail "$1 is not forgotten; see $HALAB_LOG/$HALAB_STEP.log"
}

ready() {
    local member
    joined
    for member in $(left); do
        forget "$member"
    done
    say "rabbitmq: $(wc -w <<<"$MEMBERS") members in one cluster"
}

member() {
    joined
    say "rabbitmq: ${MEMBERS%%/*} is in the cluster"
}
