# shellcheck shell=bash
# HAProxy on one node. CERTIFICATE, MANAGED; ready: FRONTS (address/port of every VIP that is fronted).

# Pacemaker starts and stops it; a running one takes what has changed without losing a connection.
reload_if_changed() {
    local stamp=$HALAB_DIR/applied/haproxy sum
    sum=$(sha256sum /etc/haproxy/haproxy.cfg "$CERTIFICATE")
    if [ -e "$stamp" ] && [ "$(<"$stamp")" != "$sum" ] && systemctl is-active --quiet haproxy; then
        systemctl reload haproxy || fail "haproxy did not take its configuration; see journalctl -u haproxy"
    fi
    mkdir -p "${stamp%/*}"
    printf '%s' "$sum" >"$stamp"
}

configure() {
    secret_file ENDPOINT_PEM "$CERTIFICATE" root haproxy 0640
    sysctl -q -p /etc/sysctl.d/60-halab-haproxy.conf
    haproxy -c -q -f /etc/haproxy/haproxy.cfg || fail "haproxy refuses its configuration; see $HALAB_LOG/$HALAB_STEP.log"
    if [ -n "$MANAGED" ]; then
        reload_if_changed
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
