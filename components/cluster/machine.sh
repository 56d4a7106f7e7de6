# shellcheck shell=bash
# A node as such: booted and configured by cloud-init; holding its secrets.

ready() {
    local result=/run/cloud-init/result.json
    retry_until 600 "cloud-init's result" test -e "$result"
    if ! tr -d ' \n' <"$result" | grep -q '"errors":\[\]'; then
        fail "cloud-init met errors: $(tr -d '\n' <"$result"); see /var/log/cloud-init.log"
    fi
    say "machine: up for $(cut -d. -f1 /proc/uptime) s"
}

secrets() {
    say "machine: $(wc -l <"$SECRETS") secrets"
}
