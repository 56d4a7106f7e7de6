#!/bin/bash
# await_table.sh OPTIONS TABLE: until the database that the client's options name lets us in and has the table.
# The limit is that of the unit's start.
set -u

exec {never}<> <(:)
until mysql --defaults-file="$1" --batch --skip-column-names --execute "SELECT 1 FROM $2 LIMIT 1" >/dev/null; do
    read -rt 3 -u "$never" || :
done
