# shellcheck shell=bash
# A full member: corosync's ring, Pacemaker on it. FENCE_KEY_FILE, INITIAL_CIB, UNITS (names).

# Whether corosync runs with the members that its file names.
same_members() {
    diff <(corosync-cmapctl | sed -n 's/^nodelist\.node\.[0-9]*\.name (str) = //p' | sort) \
        <(sed -n 's/^ *name: //p' /etc/corosync/corosync.conf | sort)
}

start() {
    local cib=/var/lib/pacemaker/cib/cib.xml
    secret_file COROSYNC_AUTHKEY /etc/corosync/authkey root root 0400
    secret_file PACEMAKER_AUTHKEY /etc/pacemaker/authkey root haclient 0640
    secret_file FENCE_KEY "$FENCE_KEY_FILE" root root 0600
    # shellcheck disable=SC2086
    reload_units $UNITS
    # A running ring takes changed timers without losing a member; only the key needs a restart. Other members are the
    # push's to take in and to let go: all nodes read their files at once then, and each has its own by that time.
    if systemctl is-active --quiet corosync && same_members; then
        corosync-cfgtool -R || fail "corosync refused its configuration; see /var/log/corosync/corosync.log"
    fi
    converge_unit corosync.service /etc/corosync/authkey
    if [ ! -e "$cib" ]; then
        install -m 0600 -o hacluster -g haclient "$INITIAL_CIB" "$cib"
    fi
    converge_unit pacemaker.service /etc/pacemaker/authkey
    say "corosync and pacemaker: running"
}
