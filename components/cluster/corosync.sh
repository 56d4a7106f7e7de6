# shellcheck shell=bash
# A full member: corosync's ring, Pacemaker on it. configure: FENCE_KEY_FILE.

configure() {
    secret_file COROSYNC_AUTHKEY /etc/corosync/authkey root root 0400
    secret_file PACEMAKER_AUTHKEY /etc/pacemaker/authkey root haclient 0640
    secret_file FENCE_KEY "$FENCE_KEY_FILE" root root 0600
    # sbd's package ties itself to corosync; without a watchdog device it would keep Pacemaker from starting.
    rm -f /etc/systemd/system/corosync.service.requires/sbd.service
    say "corosync: configured"
}

# A running ring takes a changed node list and timers without losing a member; only the key needs a restart.
start() {
    if systemctl is-active --quiet corosync; then
        corosync-cfgtool -R || fail "corosync refused its configuration; see /var/log/corosync/corosync.log"
    fi
    converge_unit corosync.service /etc/corosync/authkey
    converge_unit pacemaker.service /etc/pacemaker/authkey
    say "corosync and pacemaker: running"
}
