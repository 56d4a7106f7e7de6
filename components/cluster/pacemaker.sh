# shellcheck shell=bash
# The cluster as a whole, from its first member. push: MEMBERS, REMOTES, CIB_FILE; admit: MEMBER.

configured() { cibadmin --query --xpath /cib/configuration/resources/primitive >/dev/null 2>&1; }

# Before anything runs in it, a cluster must be whole: whoever is missing would be fenced. Later a quorum is enough.
formed() {
    local state member
    state=$(crm_mon -1 --include=none,nodes,dc --output-as=xml) || return 1
    if ! grep -Eq '<current_dc present="true".* with_quorum="true"' <<<"$state"; then
        printf 'no quorum\n'
        return 1
    fi
    if configured; then
        return 0
    fi
    for member in $MEMBERS; do
        if ! grep -Eq "<node name=\"$member\".* online=\"true\".* pending=\"false\"" <<<"$state"; then
            printf '%s is not online\n' "$member"
            return 1
        fi
    done
}

# The difference between what is live and what is wanted, as one patch: nothing else of the CIB is touched.
push_difference() {
    local folder
    folder=$(mktemp -d)
    cibadmin --query >"$folder/live.xml"
    python3 -IS /usr/local/lib/halab/cib_merge.py "$folder/live.xml" "$CIB_FILE" >"$folder/wanted.xml"
    crm_verify --xml-file "$folder/wanted.xml" --verbose || fail "crm_verify refuses $CIB_FILE; see $HALAB_LOG/$HALAB_STEP.log"
    if crm_diff --no-version --original "$folder/live.xml" --new "$folder/wanted.xml" >"$folder/patch.xml"; then
        say "pacemaker: the configuration is as wanted"
    else
        cat "$folder/patch.xml"
        cibadmin --patch --xml-file "$folder/patch.xml" || fail "the CIB took no patch; see $HALAB_LOG/$HALAB_STEP.log"
        say "pacemaker: configuration pushed"
    fi
    rm -rf "$folder"
}

# Of those the cluster knows, nobody is missing.
whole() {
    local state node
    state=$(crm_mon -1 --include=none,nodes --output-as=xml) || return 1
    for node in $MEMBERS $REMOTES; do
        if grep -q "<node name=\"$node\"" <<<"$state" &&
            ! grep -Eq "<node name=\"$node\".* online=\"true\".* pending=\"false\"" <<<"$state"; then
            printf '%s is not online\n' "$node"
            return 1
        fi
    done
}

# A push ends a pause of fencing: whoever was rebuilt meanwhile and has not joined yet, or has a failure on record from
# when it went, would be fenced at once. One that does not come in time is fenced with good reason.
await_rebuilt() {
    if ! configured || [ "$(crm_attribute --type crm_config --name stonith-enabled --query --quiet)" != false ]; then
        return 0
    fi
    (retry_until 300 "$MEMBERS $REMOTES to be online" whole) || return 0
    crm_resource --cleanup || printf 'the records of failures stay\n'
}

ring() { corosync-cmapctl | sed -n 's/^nodelist\.node\.[0-9]*\.name (str) = //p'; }

# Members that corosync runs with and nobody lists any more.
leaving() {
    local member
    for member in $(ring); do
        [[ " $MEMBERS " == *" $member "* ]] || printf '%s\n' "$member"
    done
}

close_ring() {
    corosync-cfgtool -R || fail "corosync refused its configuration; see /var/log/corosync/corosync.log"
}

# The ring takes in members that it does not know yet.
take_in() {
    local member known
    known=$(ring)
    for member in $MEMBERS; do
        if ! grep -qx "$member" <<<"$known"; then
            close_ring
            return
        fi
    done
}

gone() {
    local state
    state=$(crm_mon -1 --include=none,nodes --output-as=xml) || return 1
    ! grep "<node name=\"$1\".* online=\"true\"" <<<"$state"
}

# Members leave: they give up all they run, the ring of the others closes, and the cluster forgets them, before fencing
# is resumed by the push. Their VMs still run, and go when everything else is done.
retire() {
    local state member leaving known=()
    leaving=$(leaving)
    [ -n "$leaving" ] || return 0
    state=$(crm_mon -1 --include=none,nodes --output-as=xml)
    for member in $leaving; do
        # One that never came up is in the ring's file alone.
        if grep -q "<node name=\"$member\"" <<<"$state"; then
            known+=("$member")
        fi
    done
    for member in "${known[@]}"; do
        crm_attribute --node "$member" --name standby --update on || fail "the cluster does not answer"
    done
    for member in "${known[@]}"; do
        retry_until 300 "nothing to run on $member" empty "$member"
    done
    pause_fencing
    close_ring
    for member in "${known[@]}"; do
        retry_until 180 "$member to have left" gone "$member"
        crm_node --force --remove "$member" || fail "the cluster does not forget $member"
    done
    say "pacemaker: ${leaving//$'\n'/, } left"
}

# Remote nodes that are configured no more, but still on record.
forget_remotes() {
    local remote
    for remote in $(cibadmin --query --xpath '/cib/status/node_state[@remote_node="true"]' | grep -o 'uname="[^"]*"'); do
        remote=${remote:7:-1}
        if [[ " $REMOTES " != *" $remote "* ]]; then
            retry_until 180 "$remote to have left" gone "$remote"
            crm_node --force --remove "$remote" || printf '%s stays on record\n' "$remote"
        fi
    done
}

push() {
    configured || take_in
    retry_until 600 "a cluster of $MEMBERS" formed
    if configured; then
        retire
        take_in
    fi
    await_rebuilt
    with_lock cib push_difference
    forget_remotes
}

# A member or remote node is about to be rebuilt: its end is no failure. Fenced now, it would be turned on half made.
pause_fencing() {
    crm_attribute --type crm_config --name stonith-enabled --update false || fail "the cluster does not answer"
    say "pacemaker: fencing pauses until the next push"
}

push_down() { pause_fencing; }

checked() {
    crm_verify --live-check || fail "crm_verify refuses the live CIB"
    say "pacemaker: the live configuration is valid"
}

checked_down() { pause_fencing; }

# What was rebuilt came back in standby; by now it is configured.
admit() {
    crm_attribute --node "$MEMBER" --name standby --delete || fail "the cluster does not answer"
    say "pacemaker: $MEMBER takes part"
}

empty() {
    local seen
    seen=$(crm_mon -1 --include=none,nodes --output-as=xml | grep -o "<node name=\"$1\".*" | head -n 1)
    printf '%s\n' "$seen"
    grep -Eq 'online="false"|resources_running="0"' <<<"$seen"
}

# Best effort: a member that is dead, or a cluster without quorum, must not keep a VM from being rebuilt.
admit_down() {
    if crm_attribute --node "$MEMBER" --name standby --update on && (retry_until 120 "nothing to run on $MEMBER" empty "$MEMBER"); then
        say "pacemaker: $MEMBER stands by"
    else
        say "pacemaker: $MEMBER goes as it is"
    fi
}
