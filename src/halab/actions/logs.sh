# shellcheck shell=bash
# A node's own story: its steps' logs, its journal, its cluster. LINES_OF_EACH comes as an export.
set -u
part() {
    printf '\n===== %s\n' "$*"
    "$@" 2>&1 | tail -n "$LINES_OF_EACH"
}
part uptime
part systemctl --failed --no-pager --plain
for log in /var/log/halab/*.log; do
    [ -e "$log" ] && part cat "$log"
done
if command -v crm_mon >/dev/null && systemctl is-active --quiet pacemaker; then
    part timeout 20 crm_mon -1 --inactive --operations --failcounts
fi
for log in /var/log/pacemaker/*.log /var/log/corosync/*.log /var/log/mysql/*.log /var/log/rabbitmq/*.log \
    /var/log/keystone/*.log /var/log/glance/*.log /var/log/placement/*.log; do
    [ -f "$log" ] && part cat "$log"
done
part ip -brief address
part journalctl --boot --no-pager --lines "$LINES_OF_EACH"
exit 0
