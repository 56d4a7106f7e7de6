# shellcheck shell=bash
# What `halab status` asks of a node: sections that begin with "== name". MEMBER, SERVICES and UNITS come as exports.
# Every program here is cheap: no python, no rabbitmqctl, no pcs.
set -u
section() { printf '== %s\n' "$1"; }

section up
cut -d. -f1 /proc/uptime
section addresses
ip -o -4 address show | awk '{sub("/.*", "", $4); print $4}'
section units
for unit in $UNITS; do
    printf '%s %s\n' "$unit" "$(systemctl is-active "$unit")"
done
section failed
systemctl --failed --plain --no-legend | awk '{print $1}'
if [ "$MEMBER" = yes ]; then
    section crm
    timeout 20 crm_mon -1 --inactive --output-as=xml
fi
for service in $SERVICES; do
    case $service in
        galera)
            section galera
            timeout 10 mysql --connect-timeout=5 -N -B -e "SHOW GLOBAL STATUS WHERE Variable_name IN \
                ('wsrep_local_state_comment', 'wsrep_cluster_size', 'wsrep_cluster_status', 'wsrep_ready')" 2>&1
            ;;
        rabbitmq | rabbitmq-tiebreaker)
            section rabbitmq
            # 25672 is the port on which RabbitMQ's nodes speak to one another
            ss -Htn state listening '( sport = :5672 or sport = :5671 )' | awk 'NR == 1 {print "listens"}'
            ss -Htn state established '( sport = :25672 or dport = :25672 )' |
                awk '{sub(":[0-9]+$", "", $4); gsub(/[][]|::ffff:/, "", $4); print "peer", $4}' | sort -u
            ;;
        haproxy)
            section haproxy
            if [ -S /run/haproxy/admin.sock ]; then
                printf 'show stat\n' | timeout 5 socat -t 5 stdio /run/haproxy/admin.sock
            fi
            ;;
    esac
done
exit 0
