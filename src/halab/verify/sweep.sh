# shellcheck shell=bash
# sweep <PATTERNS: names every place on this node where one of the patterns (a line each) stands in the clear.

sweep() {
    local patterns process file
    patterns=$(mktemp -p /dev/shm)
    chmod 0600 "$patterns"
    cat >"$patterns"
    for process in /proc/[0-9]*; do
        if tr '\0' ' ' 2>/dev/null <"$process/cmdline" | grep -qFf "$patterns"; then
            printf 'argv of %s\n' "$(cat "$process/comm")"
        fi
    done
    if command -v cibadmin >/dev/null && cibadmin -Q 2>/dev/null | grep -qFf "$patterns"; then
        echo 'the CIB'
    fi
    if journalctl -q --no-pager -b 2>/dev/null | grep -qFf "$patterns"; then
        echo 'the journal'
    fi
    while read -r file; do
        printf 'log or seed: %s\n' "$file"
    done < <(grep -rlFf "$patterns" /var/log /var/lib/cloud /run/cloud-init 2>/dev/null)
    while read -r file; do
        case $(stat -c %a "$file") in
            *0) ;;
            *) printf 'readable by all: %s\n' "$file" ;;
        esac
    done < <(grep -rlFf "$patterns" /etc /var/lib/halab /opt /root 2>/dev/null)
    rm -f "$patterns"
}
