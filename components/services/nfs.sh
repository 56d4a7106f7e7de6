# shellcheck shell=bash
# The NFS server. EXPORT, OWNER (uid and gid of the directory); ready: ADDRESS, CLIENTS.

configure() {
    install -d -m 0755 "$(dirname "$EXPORT")"
    install -d -m 0750 -o "$OWNER" -g "$OWNER" "$EXPORT"
    converge_unit nfs-server.service /etc/nfs.conf.d/halab.conf
    exportfs -ra
    say "nfs: $EXPORT exported"
}

serving() {
    local versions count
    versions=$(cat /proc/fs/nfsd/versions) || return 1
    printf 'versions %s\n' "$versions"
    case $versions in *-3*+4*) ;; *) return 1 ;; esac
    count=$(exportfs -s | grep -c "^$EXPORT ") || :
    printf '%s clients of %s\n' "$count" "$CLIENTS"
    [ "$count" = "$CLIENTS" ] && (exec 3<>"/dev/tcp/$ADDRESS/2049")
}

ready() {
    retry_until 120 "the NFS server" serving
    say "nfs: version 4 only, $CLIENTS clients"
}
