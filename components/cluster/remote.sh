# shellcheck shell=bash
# pacemaker_remote on its node; joined, on a member: REMOTES.

configure() {
    secret_file PACEMAKER_AUTHKEY /etc/pacemaker/authkey root haclient 0640
    converge_unit pacemaker_remote.service /etc/pacemaker/authkey
    say "pacemaker_remote: running"
}

online() {
    local state remote
    state=$(crm_mon -1 --include=nodes --output-as=xml) || return 1
    for remote in $REMOTES; do
        if ! grep -Eq "<node name=\"$remote\".* online=\"true\"" <<<"$state"; then
            printf '%s is not online\n' "$remote"
            return 1
        fi
    done
}

joined() {
    retry_until 600 "remote nodes online: $REMOTES" online
    say "pacemaker_remote: $(wc -w <<<"$REMOTES") nodes joined"
}
