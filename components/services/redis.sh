# shellcheck shell=bash
# Redis and Sentinel on one node. ready: SENTINELS (addresses), PORT (theirs), NAME, OTHERS (how many other nodes
# each has).

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

# asked ADDRESS COMMAND: what a sentinel says of its master, on one line; "nothing" where it does not answer.
asked() {
    local line='nothing'
    exec 5<>"/dev/tcp/$1/$PORT" || return 1
    printf 'AUTH %s\r\n%sINFO sentinel\r\n' "$(secret REDIS_AUTH)" "$2" >&5
    while [[ $line != *"name=$NAME,"* ]] && IFS= read -r -t 10 line <&5; do :; done
    exec 5>&-
    printf '%s\n' "${line%$'\r'}"
}

# The sentinel at ADDRESS sees a master that is up, and at least as many replicas and sentinels as there are.
complete() {
    local seen
    seen=$(asked "$1" '') || return 1
    printf '%s: %s\n' "$1" "$seen"
    [[ $seen =~ status=ok,.*slaves=([0-9]+),sentinels=([0-9]+) ]] || return 1
    SLAVES=${BASH_REMATCH[1]} KNOWN=${BASH_REMATCH[2]}
    ((SLAVES >= OTHERS && KNOWN >= OTHERS + 1))
}

# A sentinel never forgets one that left, and would count it in every vote: it is told to look anew.
ready() {
    local sentinel
    for sentinel in $SENTINELS; do
        retry_until 180 "one Redis master with $OTHERS replicas" complete "$sentinel"
        if complete "$sentinel" && ((KNOWN > OTHERS + 1)); then
            asked "$sentinel" $'SENTINEL RESET *\r\n'
            retry_until 180 "one Redis master with $OTHERS replicas" complete "$sentinel"
        fi
    done
    say "redis: a master and $OTHERS replicas"
}
