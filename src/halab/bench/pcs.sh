# shellcheck shell=bash
# The cluster as its manual makes it, command by command. prepare (on each member): FENCE_KEY_FILE, UNITS, PASSWORD;
# build (on the first): NODES (name addr=address …), PASSWORD, COMMANDS (a file: a command per line, words between tabs).

# What belongs to the nodes and not to pcs: the fence key, the agents and drop-ins (files of this step), and pcsd running.
prepare() {
    secret_file FENCE_KEY "$FENCE_KEY_FILE" root root 0600
    # shellcheck disable=SC2086
    reload_units $UNITS
    # Debian's package brings an example, which pcs takes for a cluster
    rm -f /etc/corosync/corosync.conf
    printf 'hacluster:%s\n' "$PASSWORD" | chpasswd
    systemctl start pcsd.service || fail "pcsd did not start; see journalctl -u pcsd"
    retry_until 300 "pcsd" answers
    say "pcsd: running"
}

answers() { curl -skS -o /dev/null --max-time 20 https://localhost:2224/; }

one() {
    local begun=${EPOCHREALTIME/[.,]/}
    pcs "$@" || fail "pcs $1 $2 ${3:-} ended with $?; see $HALAB_LOG/$HALAB_STEP.log"
    say "$(((${EPOCHREALTIME/[.,]/} - begun) / 1000)) ms: pcs $*"
}

build() {
    local words
    # shellcheck disable=SC2086
    one host auth $NODES -u hacluster <<<"$PASSWORD"
    while IFS=$'\t' read -ra words <&5; do
        one "${words[@]}" </dev/null
    done 5<"$COMMANDS"
}
