#!/bin/bash
# fuzz.sh: runs every fuzz target of the module for FUZZTIME; go test takes only one of them at a time.
set -euo pipefail
GO=${GO:-go} FUZZTIME=${FUZZTIME:-5s}
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck disable=SC2016 # a template of go list, not of bash
tests='{{$p := .ImportPath}}{{$d := .Dir}}{{range .TestGoFiles}}{{$p}} {{$d}}/{{.}}{{"\n"}}{{end}}{{range .XTestGoFiles}}{{$p}} {{$d}}/{{.}}{{"\n"}}{{end}}'
ran=0 failed=()
while read -r package file; do
  [ -n "$package" ] || continue
  while read -r target; do
    ran=$((ran + 1))
    echo "== $package $target"
    "$GO" test -run '^$' -fuzz "^$target\$" -fuzztime "$FUZZTIME" "$package" </dev/null || failed+=("$package.$target")
  done < <(sed -nE 's/^func (Fuzz[A-Za-z0-9_]*)\(.*/\1/p' "$file")
done < <("$GO" list -f "$tests" ./...)
if [ ${#failed[@]} -gt 0 ]; then
  echo "FAILED: ${failed[*]} (of $ran fuzz targets)"
  exit 1
fi
echo "$ran fuzz targets, $FUZZTIME each, found nothing"
