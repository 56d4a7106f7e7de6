# shellcheck shell=bash
# HAProxy on one node. CERTIFICATE, MANAGED; ready: FRONTS (address/port of every VIP that is fronted).

configure() {
    secret_file ENDPOINT_PEM "$CERTIFICATE" root haproxy 0640
    sysctl -q -p /etc/sysctl.d/60-halab-haproxy.conf
    haproxy -c -q -f /etc/haproxy/haproxy.cfg || fail "haproxy refuses its configuration; see $HALAB_LOG/$HALAB_STEP.log"
    if [ -n "$MANAGED" ]; then
        refresh_unit haproxy.service reload /etc/haproxy/haproxy.cfg "$CERTIFICATE"
    fi
    say "haproxy: configured"
}

start() {
    converge_unit haproxy.service /etc/haproxy/haproxy.cfg "$CERTIFICATE"
    say "haproxy: running"
}

accepts() { (exec 5<>"/dev/tcp/$1"); }

ready() {
    local front
    for front in $FRONTS; do
        retry_until 600 "a VIP with HAProxy behind it at $front" accepts "$front"
    done
    say "haproxy: $(wc -w <<<"$FRONTS") VIPs answer"
}
