# Ends every process of the session $1: asked first, killed when they are still there after two seconds.
session=$1

members() {
    for stat in /proc/[0-9]*/stat; do
        { read -r line < "$stat"; } 2>/dev/null || continue
        # shellcheck disable=SC2086
        set -- ${line##*) }
        if [ "$4" = "$session" ]; then
            echo "${line%% *}"
        fi
    done
}

for signal in TERM KILL; do
    tries=20
    while [ "$tries" -gt 0 ]; do
        pids=$(members)
        [ -n "$pids" ] || exit 0
        if [ "$tries" -eq 20 ]; then
            # shellcheck disable=SC2086
            kill -s "$signal" $pids 2>/dev/null
        fi
        tries=$((tries - 1))
        sleep 0.1
    done
done
exit 1
