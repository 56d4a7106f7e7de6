# shellcheck shell=bash
# keepalived on one node. ADDRESS; ready: VIPS.

interface_of() { ip -o -4 address show | awk -v ip="$1" '{ split($4, a, "/"); if (a[1] == ip) { print $2; exit } }'; }

# PASS authentication takes eight characters; the rest of the password would be cut off with a warning.
configure() {
    local interface
    interface=$(interface_of "$ADDRESS")
    [ -n "$interface" ] || fail "no interface has the address $ADDRESS"
    sed -e "s/interface CLOUD$/interface $interface/" -e 's/\(auth_pass ........\).*/\1/' /etc/keepalived/halab.conf.in |
        put_file /etc/keepalived/keepalived.conf root root 0600
    keepalived -t -f /etc/keepalived/keepalived.conf || fail "keepalived refuses its configuration"
    reload_units keepalived.service
    say "keepalived: configured"
}

# One that runs takes a change without giving its addresses up, and without all of them doing so at once.
start() {
    if [ -e "$HALAB_DIR/applied/keepalived.service" ]; then
        refresh_unit keepalived.service reload /etc/keepalived/keepalived.conf
    fi
    converge_unit keepalived.service /etc/keepalived/keepalived.conf
    say "keepalived: running"
}

ready() {
    local vip
    for vip in $VIPS; do
        retry_until 120 "the VIP $vip" ping -c 1 -W 2 -q "$vip"
    done
    say "keepalived: $(wc -w <<<"$VIPS") VIPs held"
}
