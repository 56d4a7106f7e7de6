# shellcheck shell=bash
# HAProxy on one node. CERTIFICATE, ENTERED (folder of the proxies that backends enter when they are up); ready: FRONTS
# (address/port of every VIP that is fronted).

# with_files COMMAND...: the command with the files that the running service depends on.
with_files() {
    shopt -s nullglob
    "$@" /etc/haproxy/haproxy.cfg /etc/default/haproxy "$CERTIFICATE" "$ENTERED"/*.cfg
}

accepted() {
    haproxy -c -q -f /etc/haproxy/haproxy.cfg -f "$ENTERED" ||
        fail "haproxy refuses its configuration; see $HALAB_LOG/$HALAB_STEP.log"
}

# One that runs takes a change without losing a connection, whoever started it.
configure() {
    secret_file ENDPOINT_PEM "$CERTIFICATE" root haproxy 0640
    sysctl -q -p /etc/sysctl.d/60-halab-haproxy.conf
    install -d -m 0750 -o root -g haproxy "$ENTERED"
    accepted
    with_files refresh_unit haproxy.service reload
    say "haproxy: configured"
}

start() {
    with_files converge_unit haproxy.service
    say "haproxy: running"
}

enter() {
    accepted
    with_files refresh_unit haproxy.service reload
    say "haproxy: $(grep -c '^    server ' "$ENTERED/apis.cfg") backends entered"
}

accepts() { (exec 5<>"/dev/tcp/$1"); }

ready() {
    local front
    for front in $FRONTS; do
        retry_until 600 "a VIP with HAProxy behind it at $front" accepts "$front"
    done
    say "haproxy: $(wc -w <<<"$FRONTS") VIPs answer"
}
