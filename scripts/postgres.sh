#!/bin/bash
# postgres.sh COMMAND...: runs a command with a PostgreSQL server of its own, whose address CROSSKEYS_TEST_POSTGRES names.
#
# The server is the machine's, or Debian's package, which is installed where that can be done. It listens on loopback
# alone, its data is in a temporary folder, and it ends with the command. Where there is none, the command runs
# without, and its tests are skipped by name; with CI=true that is a failure.
set -euo pipefail

why="there is no apt-get here to install it with"
find_it() {
  bin=
  for folder in /usr/lib/postgresql/*/bin /usr/local/pgsql/bin /opt/homebrew/opt/postgresql*/bin; do
    if [ -x "$folder/initdb" ] && [ -x "$folder/pg_ctl" ]; then bin=$folder; fi
  done
  if [ -z "$bin" ] && command -v initdb >/dev/null && command -v pg_ctl >/dev/null; then
    bin=$(dirname "$(command -v initdb)")
  fi
  [ -n "$bin" ]
}
install_it() {
  command -v apt-get >/dev/null || return 1
  if [ "$(id -u)" != 0 ]; then
    why="not root, so apt-get cannot install it"
    return 1
  fi
  why="apt-get install postgresql failed"
  { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends postgresql; } >/dev/null 2>&1
}
without() {
  echo "SKIP the tests on PostgreSQL: $why"
  case ${CI:-} in
    '' | 0 | false) exec "$@" ;;
    *) echo "FAIL a skipped test fails where CI is set" && exit 1 ;;
  esac
}

find_it || { install_it && find_it; } || without "$@"

data=$(mktemp -d)
as=()
if [ "$(id -u)" = 0 ]; then # it does not run as root
  owner=postgres
  id "$owner" >/dev/null 2>&1 || owner=nobody
  chown "$owner" "$data"
  as=(runuser -u "$owner" --)
fi
stop() {
  "${as[@]}" "$bin/pg_ctl" -D "$data/db" -m immediate stop >/dev/null 2>&1 || true
  rm -rf "$data"
}
trap stop EXIT
cd "$data" # which its user may enter
"${as[@]}" "$bin/initdb" -D "$data/db" -U crosskeys --auth=trust --no-sync >"$data.log" 2>&1 || { why="initdb failed"; cat "$data.log"; rm -f "$data.log"; cd - >/dev/null; without "$@"; }
rm -f "$data.log"
for _ in 1 2 3 4 5; do
  port=$((20000 + RANDOM % 20000))
  if "${as[@]}" "$bin/pg_ctl" -D "$data/db" -w -l "$data/db/log" -o "-h 127.0.0.1 -p $port -k $data -F" start >/dev/null 2>&1; then
    started=1
    break
  fi
done
cd - >/dev/null
[ "${started:-}" = 1 ] || { why="it does not start"; without "$@"; }
CROSSKEYS_TEST_POSTGRES="postgres://crosskeys@127.0.0.1:$port/postgres?sslmode=disable" "$@"
