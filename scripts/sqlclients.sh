#!/bin/bash
# sqlclients.sh [DIR]: the SQL clients that the end-to-end tests drive, each in a pinned version, made once and kept in DIR
# (.tools/sqlclients): Microsoft's sqlcmd built from its Go module, tedious from npm, and FreeTDS's tsql and bsqldb, which
# Debian packages. Prints a line for each: its name and its path, or "missing" and why. It may be run again at any time.
#
# Fails only when asked to use a client that should be there: the caller decides what a missing one means.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
dir=${1:-.tools/sqlclients}
mkdir -p "$dir" && dir=$(cd "$dir" && pwd) || exit 1
: "${GO:=go}" "${SQLCMD_VERSION:=v1.10.0}" "${TEDIOUS_VERSION:=19.2.2}"

# A module's version list may not be to be had, so that go install PKG@VERSION fails where a throwaway module does not.
sqlcmd() {
  local out=$dir/sqlcmd-$SQLCMD_VERSION work
  if [ ! -x "$out" ]; then
    command -v "$GO" >/dev/null || { echo "sqlcmd missing: there is no go to build it with" && return; }
    work=$(mktemp -d) || return
    printf 'module tools\n\ngo 1.26\n' >"$work/go.mod"
    printf '//go:build tools\n\npackage tools\n\nimport _ "github.com/microsoft/go-sqlcmd/cmd/modern"\n' >"$work/tools.go"
    ( cd "$work" && "$GO" mod edit -require "github.com/microsoft/go-sqlcmd@$SQLCMD_VERSION" && "$GO" mod tidy &&
      CGO_ENABLED=0 "$GO" build -trimpath -o "$out.part" github.com/microsoft/go-sqlcmd/cmd/modern && mv "$out.part" "$out" ) >"$dir/sqlcmd.log" 2>&1 ||
      { echo "sqlcmd missing: its build failed, see $dir/sqlcmd.log" && return; }
    rm -rf "$work"
  fi
  ln -sfn "$out" "$dir/sqlcmd" && echo "sqlcmd $dir/sqlcmd"
}

freetds() {
  if ! command -v tsql >/dev/null || ! command -v bsqldb >/dev/null; then
    if [ "$(id -u)" != 0 ]; then
      echo "tsql missing: not root, so apt-get cannot install freetds-bin" && return
    elif ! command -v apt-get >/dev/null; then
      echo "tsql missing: there is no apt-get here to install freetds-bin with" && return
    fi
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends freetds-bin; } >"$dir/freetds.log" 2>&1 ||
      { echo "tsql missing: apt-get install freetds-bin failed, see $dir/freetds.log" && return; }
  fi
  echo "tsql $(command -v tsql)"
  echo "bsqldb $(command -v bsqldb)"
}

tedious() {
  local home=$dir/tedious-$TEDIOUS_VERSION
  if [ ! -f "$home/node_modules/tedious/package.json" ]; then
    command -v npm >/dev/null || { echo "tedious missing: there is no npm to install it with" && return; }
    mkdir -p "$home" && printf '{"private": true}\n' >"$home/package.json"
    ( cd "$home" && npm install --no-audit --no-fund --ignore-scripts --save-exact "tedious@$TEDIOUS_VERSION" ) >"$dir/tedious.log" 2>&1 ||
      { echo "tedious missing: npm install failed, see $dir/tedious.log" && return; }
  fi
  ln -sfn "$home/node_modules" "$dir/node_modules" && echo "tedious $dir/node_modules/tedious"
}

sqlcmd
freetds
tedious
