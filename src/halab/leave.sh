# shellcheck shell=bash
# A node is about to go for good, or to be rebuilt: it leaves what nobody else takes it out of. leave: UNITS, PORT (the
# database's).

clients() {
    local count
    count=$(ss -Htn state established "( sport = :$PORT )" | wc -l)
    printf '%s connections of clients\n' "$count"
    ((count == 0))
}

# The load balancers send the database's clients elsewhere when its check is gone; they are not cut off before.
drain() {
    systemctl stop galera-check.service
    (retry_until 60 "the database's clients to go elsewhere" clients) || printf 'some are cut off\n'
}

leave() {
    local unit left=()
    for unit in $UNITS; do
        if systemctl is-active --quiet "$unit"; then
            [ "$unit" != mariadb ] || drain
            systemctl stop "$unit" || fail "$unit does not stop; see journalctl -u $unit"
            left+=("$unit")
        fi
    done
    say "$HOSTNAME has left ${left[*]:-nothing}"
}
