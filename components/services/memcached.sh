# shellcheck shell=bash
# memcached on one node. ready: MEMBERS (addresses), PORT.

configure() { say "memcached: configured"; }

start() {
    converge_unit memcached.service /etc/memcached.conf
    say "memcached: running"
}

answers() {
    local line
    exec 5<>"/dev/tcp/$1/$PORT" || return 1
    printf 'version\r\n' >&5
    IFS= read -r -t 10 line <&5
    printf '%s\n' "$line"
    [[ $line = VERSION* ]]
}

ready() {
    local member
    for member in $MEMBERS; do
        retry_until 600 "memcached at $member" answers "$member"
    done
    say "memcached: $(wc -w <<<"$MEMBERS") members answer"
}
