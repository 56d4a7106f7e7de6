# shellcheck shell=bash
# Keystone on one node. UNIT, OWNER, CA_FILE, UWSGI, MANAGED, LOCKS; bootstrap: NAMES; ready: URL, BACKENDS, ADMIN.

# with_files COMMAND...: the command with the files that the running service depends on.
with_files() { "$@" /etc/keystone/keystone.conf "$UWSGI" "/etc/systemd/system/$UNIT.service" /etc/keystone/*-keys/*; }

configure() {
    local name repository key
    secret_file CA_PEM "$CA_FILE" root root 0644
    for name in FERNET CREDENTIAL; do
        repository=/etc/keystone/${name,,}-keys
        install -d -m 0750 -o root -g "$OWNER" "$repository"
        for key in 0 1; do
            secret "${name}_$key" | put_file "$repository/$key" root "$OWNER" 0640
        done
    done
    reload_units "$UNIT"
    if [ -n "$MANAGED" ]; then
        in_turn "$UNIT" with_files refresh_unit "$UNIT" restart
    fi
    say "keystone: configured"
}

start() {
    in_turn "$UNIT" with_files converge_unit "$UNIT"
    say "keystone: running"
}

passwords() {
    local name
    for name in $NAMES; do
        printf '%s=%s\n' "$name" "$(secret "$name")"
    done
}

bootstrap() {
    passwords | runuser -u "$OWNER" -- env --chdir=/var/lib/keystone HOME=/var/lib/keystone \
        python3 /usr/local/lib/halab/keystone_bootstrap.py /etc/halab/keystone-catalog.json ||
        fail "keystone_bootstrap.py failed; see $HALAB_LOG/$HALAB_STEP.log"
    say "keystone: $(tail -n 1 "$HALAB_LOG/$HALAB_STEP.log")"
}

# A token of admin through the VIP, checked against the stack's CA; 201 is the answer that counts.
token() {
    local code
    code=$(curl -sS -o /dev/null -w '%{http_code}' --max-time 60 --cacert "$CA_FILE" -H 'Content-Type: application/json' \
        --data-binary @- "$URL/v3/auth/tokens" <<BODY
{"auth": {"identity": {"methods": ["password"], "password": {"user": {"name": "admin", "domain": {"id": "default"},
"password": "$(secret "$ADMIN")"}}}, "scope": {"project": {"name": "admin", "domain": {"id": "default"}}}}}
BODY
    ) || return 1
    printf '%s\n' "$URL answered $code"
    [ "$code" = 201 ]
}

ready() {
    local backend
    for backend in $BACKENDS; do
        retry_until 900 "keystone at $backend" curl -sS -f -o /dev/null --max-time 30 "$backend"
    done
    retry_until 300 "a token through $URL" token
    say "keystone: a token through $URL"
}
