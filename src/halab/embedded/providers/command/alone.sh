# Before a command: the session $halab_at tells of, if it still runs, is one that nobody listens to any more, because
# the halab that began it was killed; it is ended. Only on halab's nodes, and without a program being run in vain.
: "${halab_at:?}" "${halab_end:?}"
if [ -d /etc/halab ]; then
    if read -r halab_was halab_since <"$halab_at" && read -r halab_now <"/proc/$halab_was/stat"; then
        # shellcheck disable=SC2086
        set -- ${halab_now##*) }
        [ "${20}" != "$halab_since" ] || echo "$halab_end" | sh -s "$halab_was"
    fi 2>/dev/null
    read -r halab_now <"/proc/$$/stat"
    # shellcheck disable=SC2086
    set -- ${halab_now##*) }
    { echo "$$ ${20}" >"$halab_at"; } 2>/dev/null
    set --
fi
