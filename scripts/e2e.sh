#!/bin/bash
# e2e.sh CROSSKEYS [az|sql]: real clients, installed first where they are missing, against labs of their own: the Azure
# CLI, and the SQL clients. With a second argument only those.
#
# A client that cannot be installed is skipped by name; with CI=true that is a failure, so that a pipeline cannot lose
# the test unseen.
set -euo pipefail
crosskeys=${1:?the path of the crosskeys binary}
crosskeys=$(cd "$(dirname "$crosskeys")" && pwd)/$(basename "$crosskeys")
cd "$(dirname "${BASH_SOURCE[0]}")/.."

skip() { # WHAT WHY
  echo "SKIP $1: $2"
  case ${CI:-} in
    '' | 0 | false) return 0 ;;
    *) echo "FAIL a skipped end-to-end test fails where CI is set" && exit 1 ;;
  esac
}

install_az() {
  if [ "$(id -u)" != 0 ]; then
    why="not root, so apt-get cannot install it"
  elif ! command -v apt-get >/dev/null; then
    why="there is no apt-get here to install it with"
  elif ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y azure-cli; } >/dev/null 2>&1; then
    why="apt-get install azure-cli failed"
  fi
  command -v az >/dev/null
}

# on_lab [seed] COMMAND...: runs a command against a lab of its own, which is gone afterwards.
on_lab() {
  local dir rc=0 seed=
  [ "$1" != seed ] || { seed=1 && shift; }
  dir=$(mktemp -d)
  "$crosskeys" lab up --dir "$dir/lab" >/dev/null
  { [ -z "$seed" ] || "$crosskeys" lab seed --dir "$dir/lab" >/dev/null; } && "$crosskeys" lab exec --dir "$dir/lab" -- "$@" || rc=$?
  "$crosskeys" lab down --dir "$dir/lab" >/dev/null || rc=$?
  rm -rf "$dir" 2>/dev/null || { sleep 1 && rm -rf "$dir"; } # the lab may still be writing its last
  return $rc
}

az_flow() {
  local why=
  if ! command -v az >/dev/null && ! install_az; then
    skip e2e/az/flow.sh "the Azure CLI is missing: ${why:-az is not on PATH}"
    return
  fi
  on_lab env CROSSKEYS="$crosskeys" bash e2e/az/flow.sh
}

sql_flow() {
  local built rc=0 found clients=gomssqldb name
  found=$(scripts/sqlclients.sh)
  while read -r name rest; do
    case $rest in missing:*) skip "e2e/sql/flow.sh with $name" "$rest" ;; *) clients="$clients $name" ;; esac
  done <<<"$found"
  built=$(mktemp -d)
  CGO_ENABLED=0 "${GO:-go}" build -o "$built/gomssqldb" ./e2e/sql/gomssqldb
  on_lab seed env CLIENTS="$clients" GOMSSQLDB="$built/gomssqldb" bash e2e/sql/flow.sh || rc=$?
  rm -rf "$built"
  return $rc
}

case ${2:-} in
  az | sql) "${2}_flow" ;;
  '') az_flow && sql_flow ;;
  *) echo "e2e.sh: what is $2?" >&2 && exit 2 ;;
esac
