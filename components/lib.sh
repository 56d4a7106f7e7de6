# shellcheck shell=bash
# Sourced, as text, ahead of every recipe. Output of an action goes to a file on the node; stdout carries one line.

HALAB_DIR=/var/lib/halab
HALAB_LOG=/var/log/halab
SECRETS=/etc/halab/secrets.env

# One line for the operator (and for Pulumi's state); everything else an action prints goes to its log.
say() { printf '%s\n' "$*" >&3; }

fail() {
    printf '%s: %s\n' "$HALAB_STEP" "$*" >&4
    printf 'FAILED: %s\n' "$*"
    exit 1
}

# retry_until SECONDS WHAT COMMAND...: run the command until it succeeds; on the limit fail with its last output.
retry_until() {
    local limit=$1 what=$2 seen='' start=$SECONDS begun pause never
    shift 2
    # Nothing is ever written here: what `read` waits on, so that a pause needs no process.
    exec {never}<> <(:)
    while begun=${EPOCHREALTIME/[.,]/} && ! seen=$("$@" 2>&1); do
        if ((SECONDS - start >= limit)); then
            fail "waited ${limit} s for ${what}; last seen: $(tail -n 1 <<<"$seen")"
        fi
        # Twice as long as asking took, half a second to four: asking must not be what keeps a guest busy.
        pause=$((2 * (${EPOCHREALTIME/[.,]/} - begun)))
        pause=$((pause < 500000 ? 500000 : pause > 4000000 ? 4000000 : pause))
        printf -v pause '%d.%06d' $((pause / 1000000)) $((pause % 1000000))
        read -rt "$pause" -u "$never" || :
    done
    exec {never}>&-
    printf '%s: after %s s\n' "$what" "$((SECONDS - start))"
}

# with_lock NAME COMMAND...: exclusion between steps on one node (dpkg, CIB writers); waits at most ten minutes.
with_lock() {
    local name=$1
    shift
    mkdir -p /run/halab
    (
        flock -w 600 9 || fail "waited 600 s for the lock $name"
        "$@"
    ) 9>"/run/halab/$name.lock"
}

# secret NAME: the node's secret of that name on stdout; only secrets handed to this node are known.
secret() {
    local line
    while IFS= read -r line; do
        if [[ $line == "$1="?* ]]; then
            printf '%s' "${line#*=}"
            return
        fi
    done <"$SECRETS"
    fail "no secret $1 on this node (see $SECRETS)"
}

# Under emulation a program costs a guest what a thousand lines of bash do, and a node has dozens of files: so no
# program is run here that bash can do without.
_place() { # PATH OWNER GROUP MODE TEMPORARY: move into place
    [ "$2:$3" = root:root ] || chown "$2:$3" "$5"
    chmod "$4" "$5"
    mv -f "$5" "$1"
    printf 'changed %s\n' "$1"
}

_temporary() { # PATH: sets `temporary` to a name beside it, whose folder is there
    [ -d "${1%/*}" ] || mkdir -p "${1%/*}"
    temporary=$1.halab.$BASHPID
}

_settle() { # PATH OWNER GROUP MODE: a file whose content is right
    [ "$(stat -c %U:%G:%04a "$1")" = "$2:$3:$4" ] || { chown "$2:$3" "$1" && chmod "$4" "$1"; }
}

# put_file PATH OWNER GROUP MODE [CONTENT]: the file, with each @{NAME} replaced by the node's secret NAME. Text, from
# stdin where it is no argument.
put_file() {
    local path=$1 content old='' name temporary
    if (($# > 4)); then
        content=$5
    else
        content=$(cat && printf x)
        content=${content%x}
    fi
    while [[ $content =~ @\{([A-Z0-9_]+)\} ]]; do
        name=${BASH_REMATCH[1]}
        content=${content//"@{$name}"/"$(secret "$name")"}
    done
    if [ -f "$path" ] && { IFS= read -r -d '' old <"$path" || :; } && [ "$old" = "$content" ]; then
        _settle "$path" "$2" "$3" "$4"
        return
    fi
    _temporary "$path"
    (umask 077 && printf '%s' "$content" >"$temporary")
    _place "$path" "$2" "$3" "$4" "$temporary"
}

# secret_file NAME PATH OWNER GROUP MODE: a secret that is a whole file (base64 in secrets.env), decoded.
secret_file() {
    local path=$2 temporary
    _temporary "$path"
    (umask 077 && secret "$1" | base64 -d >"$temporary")
    if cmp -s "$temporary" "$path" 2>/dev/null; then
        rm -f "$temporary"
        _settle "$path" "$3" "$4" "$5"
    else
        _place "$path" "$3" "$4" "$5" "$temporary"
    fi
}

# converge_unit UNIT FILE...: the unit is enabled, active, and was (re)started after the last change of any FILE.
converge_unit() {
    local unit=$1 stamp sum
    shift
    stamp=$HALAB_DIR/applied/$unit
    sum=$(cat "$@" /dev/null | sha256sum)
    mkdir -p "$HALAB_DIR/applied"
    systemctl is-enabled --quiet "$unit" 2>/dev/null || systemctl --no-reload enable --quiet "$unit"
    if [ ! -e "$stamp" ] || [ "$(<"$stamp")" != "$sum" ] || ! systemctl is-active --quiet "$unit"; then
        systemctl restart "$unit" || fail "$unit did not start: $(systemctl show -p Result --value "$unit"); see journalctl -u $unit"
        printf '%s' "$sum" >"$stamp"
    fi
}

# refresh_unit UNIT HOW FILE...: a unit that others start and stop takes a change of any FILE, by systemctl HOW (reload,
# restart). Nothing is done to one that does not run.
refresh_unit() {
    local unit=$1 how=$2 stamp=$HALAB_DIR/applied/$1 sum
    shift 2
    sum=$(cat "$@" | sha256sum)
    mkdir -p "${stamp%/*}"
    if [ -e "$stamp" ] && [ "$(<"$stamp")" != "$sum" ]; then
        case $(systemctl is-active "$unit") in
            active | activating | reloading)
                systemctl "$how" "$unit" || fail "$unit did not take its configuration; see journalctl -u $unit"
                ;;
        esac
    fi
    printf '%s' "$sum" >"$stamp"
}

# ask_memcached LINE: its answer, of the first of LOCKS (address:port ...) that can be reached.
ask_memcached() {
    local place line=''
    for place in $LOCKS; do
        { exec 6<>"/dev/tcp/${place%:*}/${place##*:}"; } 2>/dev/null || continue
        printf '%b\r\n' "$1" >&6
        IFS= read -r -t 10 line <&6 || :
        exec 6>&-
        printf '%s\n' "${line%$'\r'}"
        return
    done
}

turn_taken() {
    local answer
    answer=$(ask_memcached "add halab-turn-$1 0 600 1\r\n1")
    printf 'memcached says %s\n' "${answer:-nothing}"
    [ "$answer" != NOT_STORED ]
}

# in_turn UNIT COMMAND...: what may restart a unit that runs is done on one node after the other; the lock is in memcached,
# whose `add` is atomic, and with it no longer than ten minutes. At once where the unit is down, or no memcached answers.
in_turn() {
    local unit=$1
    shift
    if systemctl is-active --quiet "$unit"; then
        retry_until 900 "this node's turn with $unit" turn_taken "$unit"
        # shellcheck disable=SC2064
        trap "ask_memcached 'delete halab-turn-$unit'" EXIT
    fi
    "$@"
}

# reload_units UNIT...: systemd reads its files again if it holds an older version of one of the units.
reload_units() {
    local unit
    for unit; do
        if [ "$(systemctl show -P NeedDaemonReload "$unit")" = yes ]; then
            systemctl daemon-reload
            return
        fi
    done
}

# schema_at_head NAME HOST CA_FILE SECRET: the database NAME, which its own user of that name reads, is at the versions
# that this image's packages make it (noted there when the image was built).
schema_at_head() {
    local seen
    [ -s "/usr/share/halab/schema/$1" ] || return 1
    seen=$(mysql --defaults-extra-file=<(printf '[client]\nhost=%s\nuser=%s\npassword=%s\nssl-ca=%s\n' "$2" "$1" \
        "$(secret "$4")" "$3") -N -B -e 'SELECT version_num FROM alembic_version ORDER BY 1' "$1") || return 1
    [ "$seen" = "$(cat "/usr/share/halab/schema/$1")" ]
}

# service_token URL CA_FILE USER SECRET: a token of a service's user in the project service, on stdout.
service_token() {
    local answer token
    answer=$(curl -sS -D - -o /dev/null --max-time 60 --cacert "$2" -H 'Content-Type: application/json' --data-binary @- \
        "$1/v3/auth/tokens" <<BODY
{"auth": {"identity": {"methods": ["password"], "password": {"user": {"name": "$3", "domain": {"id": "default"},
"password": "$(secret "$4")"}}}, "scope": {"project": {"name": "service", "domain": {"id": "default"}}}}}
BODY
    ) || return 1
    token=$(sed -n 's/^x-subject-token: *\([^[:space:]]*\).*/\1/Ip' <<<"$answer")
    if [ -z "$token" ]; then
        printf 'no token for %s: %s\n' "$3" "${answer%%$'\r'*}"
        return 1
    fi
    printf '%s' "$token"
}

run_action() {
    local action=$1 log=$HALAB_LOG/$HALAB_STEP.log status=0
    mkdir -p "$HALAB_LOG" "$HALAB_DIR"
    chmod 0750 "$HALAB_LOG"
    exec 3>&1 4>&2 >>"$log" 2>&1 </dev/null
    printf -- '--- %s %s\n' "$(date -u +%FT%TZ)" "$HALAB_STEP $action"
    # Not `( … ) || status=$?`: bash ignores set -e in whatever a condition runs.
    set +e
    (
        set -e
        case $action in *_down) ;; *) put_files ;; esac
        "$action"
    )
    status=$?
    if ((status)); then
        printf '%s failed with %s; the end of %s:\n' "$HALAB_STEP" "$status" "$log" >&4
        tail -n 15 "$log" >&4
    fi
    exit "$status"
}
