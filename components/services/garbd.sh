# shellcheck shell=bash
# The Galera arbitrator. CA_FILE, CERTIFICATE, PORT.

configure() {
    secret_file CA_PEM "$CA_FILE" root root 0644
    secret_file ENDPOINT_PEM "$CERTIFICATE" _galera root 0400
    reload_units garb.service
    say "garbd: configured"
}

connected() {
    local count
    count=$(ss -Htn state established "( dport = :$PORT or sport = :$PORT )" | wc -l)
    printf '%s connections to members\n' "$count"
    systemctl is-active --quiet garb && ((count > 0))
}

ready() {
    converge_unit garb.service /etc/default/garb "$CERTIFICATE"
    retry_until 300 "the arbitrator to join" connected
    say "garbd: joined"
}
