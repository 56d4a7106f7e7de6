#!/bin/bash
# haproxy_check ADDRESS PORT: whether this node's HAProxy answers. keepalived asks every few seconds, so bash does it all.
exec 3<>"/dev/tcp/$1/$2" || exit 1
printf 'GET / HTTP/1.0\r\n\r\n' >&3
IFS= read -r -t 5 line <&3
[[ $line == 'HTTP/'*' 200 '* ]]
