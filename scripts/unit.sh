#!/bin/bash
# unit.sh: every Go test of the product, under the race detector where cgo can be built, with a PostgreSQL server beside
# it. The crash matrix, some hundred processes, runs in full without the detector.
set -euo pipefail
GO=${GO:-go}
here=$(dirname "$0")
race=()
compiler=$("$GO" env CC)
# shellcheck disable=SC2086 # CC may carry options
if printf '#include <stdlib.h>\nint main(void) { return 0; }\n' | $compiler -x c -o /dev/null - 2>/dev/null; then
  race=(-race)
  export CGO_ENABLED=1
else
  echo "NOTE the race detector is off: the C compiler $compiler is missing or does not work"
fi
"$here/postgres.sh" "$GO" test "${race[@]}" -timeout 15m ./...
if [ ${#race[@]} -gt 0 ]; then
  CGO_ENABLED=0 "$GO" test -count 1 -v -run 'TestCrashMatrix' ./cmd/crosskeys | grep -v -e '^=== ' -e '^ *--- PASS'
fi
