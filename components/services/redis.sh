# shellcheck shell=bash
# Redis and Sentinel on one node. ready: ADDRESS, PORT (a sentinel's), NAME, OTHERS (how many other nodes there are).

# Both daemons rewrite their files; a new first text replaces them only if halab's own text changed.
configure() {
    local daemon first stamp
    for daemon in redis sentinel; do
        first=/etc/redis/halab-$daemon.conf
        stamp=$HALAB_DIR/applied/$daemon.conf
        mkdir -p "$HALAB_DIR/applied"
        if [ ! -e "/etc/redis/$daemon.conf" ] || [ "$(cat "$stamp" 2>/dev/null)" != "$(sha256sum <"$first")" ]; then
            put_file "/etc/redis/$daemon.conf" redis redis 0640 <"$first"
            sha256sum <"$first" >"$stamp"
        fi
    done
    say "redis: configured"
}

start() {
    converge_unit redis-server.service /etc/redis/halab-redis.conf
    converge_unit redis-sentinel.service /etc/redis/halab-sentinel.conf
    say "redis: running"
}

# The sentinel's view: a master that is up, and as many replicas and other sentinels as there are other nodes.
complete() {
    local line='nothing'
    exec 5<>"/dev/tcp/$ADDRESS/$PORT" || return 1
    printf 'AUTH %s\r\nINFO sentinel\r\n' "$(secret REDIS_AUTH)" >&5
    while [[ $line != *"name=$NAME,"* ]] && IFS= read -r -t 10 line <&5; do :; done
    exec 5>&-
    printf '%s\n' "${line%$'\r'}"
    [[ $line = *status=ok*,slaves=$OTHERS,sentinels=$((OTHERS + 1))* ]]
}

ready() {
    retry_until 180 "one Redis master with $OTHERS replicas" complete
    say "redis: a master and $OTHERS replicas"
}
