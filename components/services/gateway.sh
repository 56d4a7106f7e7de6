# shellcheck shell=bash
# The gateway. CLOUD_ADDRESS, OUTER_ADDRESS; ready: PORTS, NAMES (name/address ...), FRONTS (address/port ...).

interface_of() { ip -o -4 address show | awk -v ip="$1" '{ split($4, a, "/"); if (a[1] == ip) { print $2; exit } }'; }

configure() {
    local outer cloud
    outer=$(interface_of "$OUTER_ADDRESS")
    cloud=$(interface_of "$CLOUD_ADDRESS")
    [ -n "$outer" ] && [ -n "$cloud" ] || fail "no interface has $OUTER_ADDRESS or $CLOUD_ADDRESS; see ip address"
    put_file /etc/nftables.d/interfaces.nft root root 0644 <<EOF_DEFINE
define OUTER = "$outer"
define CLOUD = "$cloud"
EOF_DEFINE
    nft -c -f /etc/nftables.conf || fail "nft refuses /etc/nftables.conf"
    dnsmasq --test || fail "dnsmasq refuses /etc/dnsmasq.conf"
    # The filter is there before a packet can be forwarded.
    converge_unit nftables.service /etc/nftables.conf /etc/nftables.d/interfaces.nft
    sysctl -q -p /etc/sysctl.d/60-halab-gateway.conf
    converge_unit dnsmasq.service /etc/dnsmasq.conf
    say "gateway: names, leases and filter in place"
}

named() {
    local answer
    answer=$(busybox nslookup -type=a "$1" "$CLOUD_ADDRESS") || return 1
    printf '%s\n' "${answer//$'\n'/ }"
    grep -q "Address.*[: ]$2\$" <<<"$answer"
}

accepts() { (exec 5<>"/dev/tcp/$1"); }

# The rules in the kernel, not those in the file: which ports are translated, and that all else is dropped.
ready() {
    local rules found name front
    rules=$(nft list table inet halab) || fail "the table inet halab is not loaded; run nft -f /etc/nftables.conf"
    found=$(grep -o 'tcp dport [0-9]* dnat' <<<"$rules" | cut -d ' ' -f 3 | sort -n | tr '\n' ' ')
    [ "${found% }" = "$PORTS" ] || fail "ports $found are open, $PORTS should be"
    [ "$(grep -c 'hook \(input\|forward\) .*policy drop' <<<"$rules")" = 2 ] || fail "input or forward is not dropped"
    [ "$(cat /proc/sys/net/ipv4/ip_forward)" = 1 ] || fail "forwarding is off"
    for name in $NAMES; do
        retry_until 60 "the name ${name%%/*}" named "${name%%/*}" "${name##*/}"
    done
    for front in $FRONTS; do
        retry_until 300 "the VIP $front from the gateway" accepts "$front"
    done
    say "gateway: ports $PORTS open, $(wc -w <<<"$NAMES") names served"
}
