# shellcheck shell=bash
# RabbitMQ on one node. configure: MEMBER (the one whose rebuild undoes it), PORT; ready: MEMBERS (name/address ...), PORT.

COOKIE=/var/lib/rabbitmq/.erlang.cookie

configure() {
    secret RABBITMQ_COOKIE | put_file "$COOKIE" rabbitmq rabbitmq 0400
    reload_units rabbitmq-server.service epmd.socket
    converge_unit epmd.socket /etc/systemd/system/epmd.socket.d/halab.conf
    say "rabbitmq: configured"
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

start() {
    converge_unit rabbitmq-server.service /etc/rabbitmq/rabbitmq.conf /etc/rabbitmq/rabbitmq-env.conf "$COOKIE"
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

ready() {
    joined
    say "rabbitmq: $(wc -w <<<"$MEMBERS") members in one cluster"
}

member() {
    joined
    say "rabbitmq: ${MEMBERS%%/*} is in the cluster"
}
