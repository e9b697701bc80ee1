#!/bin/sh
# Makes a directory under STATE from config.ldif, adds the entries of
# SEED/*.ldif through a socket (not with slapadd, which runs no overlay: memberOf
# would be missing), then serves it on port 1389.
#
#   BASE_DN  suffix of the database
#   STATE    an empty, writable directory; default /srv/directory
#   SEED     LDIF files in the order of their names; default /seed
set -eu
: "${BASE_DN:?the suffix of the directory, e.g. dc=example,dc=org}"
state=${STATE:-/srv/directory}
seed=${SEED:-/seed}
socket="ldapi://$(printf %s "$state/run/ldapi" | sed 's|/|%2F|g')"

rm -rf "$state/config" "$state/data" "$state/run"
mkdir -p "$state"
mkdir -m 0700 "$state/config" "$state/data" "$state/run"
sed -e "s|@BASE_DN@|$BASE_DN|g" -e "s|@STATE@|$state|g" \
    -e "s|@UID@|$(id -u)|g" -e "s|@GID@|$(id -g)|g" \
    /etc/directory/config.ldif | slapadd -n 0 -F "$state/config"

slapd -F "$state/config" -h "$socket" -d 0 &
slapd=$!
tries=0
until ldapsearch -Q -LLL -Y EXTERNAL -H "$socket" -s base -b '' 1.1 >/dev/null 2>&1; do
  tries=$((tries + 1))
  if [ "$tries" -gt 100 ] || ! kill -0 "$slapd"; then
    echo "slapd does not answer on its socket" >&2
    exit 1
  fi
  sleep 0.1
done
for file in "$seed"/*.ldif; do
  ldapadd -Q -Y EXTERNAL -H "$socket" -f "$file" >/dev/null
done
kill "$slapd"
wait "$slapd" || true

exec slapd -F "$state/config" -h ldap://:1389/ -d stats
