# shellcheck shell=bash
# A full member: corosync's ring, Pacemaker on it. FENCE_KEY_FILE, INITIAL_CIB, UNITS (names).

# Whether corosync runs with a member that its file does not name any more.
shrinks() {
    local member
    for member in $(corosync-cmapctl | sed -n 's/^nodelist\.node\.[0-9]*\.name (str) = //p'); do
        grep -qx " *name: $member" /etc/corosync/corosync.conf || return 0
    done
    return 1
}

start() {
    local cib=/var/lib/pacemaker/cib/cib.xml
    secret_file COROSYNC_AUTHKEY /etc/corosync/authkey root root 0400
    secret_file PACEMAKER_AUTHKEY /etc/pacemaker/authkey root haclient 0640
    secret_file FENCE_KEY "$FENCE_KEY_FILE" root root 0600
    # shellcheck disable=SC2086
    reload_units $UNITS
    # A running ring takes a changed node list and timers without losing a member; only the key needs a restart. One that
    # loses members takes it from the push, when they have given up all they had.
    if systemctl is-active --quiet corosync && ! shrinks; then
        corosync-cfgtool -R || fail "corosync refused its configuration; see /var/log/corosync/corosync.log"
    fi
    converge_unit corosync.service /etc/corosync/authkey
    if [ ! -e "$cib" ]; then
        install -m 0600 -o hacluster -g haclient "$INITIAL_CIB" "$cib"
    fi
    converge_unit pacemaker.service /etc/pacemaker/authkey
    say "corosync and pacemaker: running"
}
