# shellcheck shell=bash
# Glance on one node. UNIT, OWNER, CA_FILE, UWSGI, MANAGED, LOCKS; ready: URL, BACKENDS, KEYSTONE.

MOUNT=var-lib-glance-images.mount

# with_files COMMAND...: the command with the files that the running service depends on.
with_files() { "$@" /etc/glance/glance-api.conf "$UWSGI" "/etc/systemd/system/$UNIT.service"; }

configure() {
    secret_file CA_PEM "$CA_FILE" root root 0644
    install -d -m 0750 -o "$OWNER" -g "$OWNER" /var/lib/glance/staging /var/lib/glance/tasks
    mountpoint -q /var/lib/glance/images || install -d -m 0750 -o "$OWNER" -g "$OWNER" /var/lib/glance/images
    reload_units "$UNIT" "$MOUNT"
    converge_unit "$MOUNT" "/etc/systemd/system/$MOUNT"
    runuser -u "$OWNER" -- test -w /var/lib/glance/images || fail "$OWNER cannot write to /var/lib/glance/images"
    if [ -n "$MANAGED" ]; then
        in_turn "$UNIT" with_files refresh_unit "$UNIT" restart
    fi
    say "glance: configured, images on $(findmnt -n -o SOURCE /var/lib/glance/images)"
}

schema() {
    if schema_at_head "$OWNER" "$DATABASE_HOST" "$CA_FILE" GLANCE_DB; then
        say "glance: schema at head, as the image brought it"
        return
    fi
    runuser -u "$OWNER" -- env --chdir=/var/lib/glance HOME=/var/lib/glance glance-manage db_sync ||
        fail "glance-manage db_sync failed; see $HALAB_LOG/$HALAB_STEP.log"
    say "glance: schema at head"
}

start() {
    in_turn "$UNIT" with_files converge_unit "$UNIT"
    say "glance: running"
}

# A token for the service's own user is enough to be let in; 200 is the answer that counts.
listing() {
    local token code
    token=$(service_token "$KEYSTONE" "$CA_FILE" "$OWNER" GLANCE_USER) || return 1
    code=$(printf 'X-Auth-Token: %s\n' "$token" |
        curl -sS -o /dev/null -w '%{http_code}' --max-time 60 --cacert "$CA_FILE" -H @- "$URL/v2/images?limit=1") || return 1
    printf '%s answered %s\n' "$URL" "$code"
    [ "$code" = 200 ]
}

ready() {
    local backend
    for backend in $BACKENDS; do
        retry_until 900 "glance at $backend" curl -sS -f -o /dev/null --max-time 30 "$backend"
    done
    retry_until 300 "a list of images through $URL" listing
    say "glance: answers at $URL"
}
