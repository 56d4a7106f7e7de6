# shellcheck shell=bash
# Placement on one node. UNIT, OWNER, CA_FILE, UWSGI, MANAGED, LOCKS; ready: URL, BACKENDS, KEYSTONE.

# with_files COMMAND...: the command with the files that the running service depends on.
with_files() { "$@" /etc/placement/placement.conf "$UWSGI" "/etc/systemd/system/$UNIT.service"; }

configure() {
    secret_file CA_PEM "$CA_FILE" root root 0644
    reload_units "$UNIT"
    if [ -n "$MANAGED" ]; then
        in_turn "$UNIT" with_files refresh_unit "$UNIT" restart
    fi
    say "placement: configured"
}

schema() {
    if schema_at_head "$OWNER" "$DATABASE_HOST" "$CA_FILE" PLACEMENT_DB; then
        say "placement: schema at head, as the image brought it"
        return
    fi
    runuser -u "$OWNER" -- env --chdir=/var/lib/placement HOME=/var/lib/placement placement-manage db sync ||
        fail "placement-manage db sync failed; see $HALAB_LOG/$HALAB_STEP.log"
    say "placement: schema at head"
}

start() {
    in_turn "$UNIT" with_files converge_unit "$UNIT"
    say "placement: running"
}

# Placement lets only admins and services list what it holds: the service's own user is one.
listing() {
    local token code
    token=$(service_token "$KEYSTONE" "$CA_FILE" "$OWNER" PLACEMENT_USER) || return 1
    code=$(printf 'X-Auth-Token: %s\n' "$token" |
        curl -sS -o /dev/null -w '%{http_code}' --max-time 60 --cacert "$CA_FILE" -H @- \
            -H 'OpenStack-API-Version: placement 1.39' "$URL/resource_providers") || return 1
    printf '%s answered %s\n' "$URL" "$code"
    [ "$code" = 200 ]
}

ready() {
    local backend
    for backend in $BACKENDS; do
        retry_until 900 "placement at $backend" curl -sS -f -o /dev/null --max-time 30 "$backend"
    done
    retry_until 300 "a list of resource providers through $URL" listing
    say "placement: answers at $URL"
}
