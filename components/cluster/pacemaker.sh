# shellcheck shell=bash
# The cluster as a whole, from its first member. push: MEMBERS, CIB_FILE; admit: MEMBER.

# Before anything runs in it, a cluster must be whole: whoever is missing would be fenced. Later a quorum is enough.
formed() {
    local state member
    state=$(crm_mon -1 --include=none,nodes,dc --output-as=xml) || return 1
    if ! grep -Eq '<current_dc present="true".* with_quorum="true"' <<<"$state"; then
        printf 'no quorum\n'
        return 1
    fi
    if cibadmin --query --xpath /cib/configuration/resources/primitive >/dev/null 2>&1; then
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

push() {
    retry_until 600 "a cluster of $MEMBERS" formed
    with_lock cib push_difference
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
    seen=$(crm_mon -1 --include=none,nodes --output-as=xml | grep -o "<node name=\"$MEMBER\".*" | head -n 1)
    printf '%s\n' "$seen"
    grep -Eq 'online="false"|resources_running="0"' <<<"$seen"
}

# Best effort: a member that is dead, or a cluster without quorum, must not keep a VM from being rebuilt.
admit_down() {
    if crm_attribute --node "$MEMBER" --name standby --update on && (retry_until 120 "nothing to run on $MEMBER" empty); then
        say "pacemaker: $MEMBER stands by"
    else
        say "pacemaker: $MEMBER goes as it is"
    fi
}
