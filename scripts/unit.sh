#!/bin/bash
# unit.sh: every Go test of the product, under the race detector where cgo can be built, with a PostgreSQL server beside
# it. What matrices.sh runs as a whole, some thousand processes and labs, is left out here.
set -euo pipefail
GO=${GO:-go}
here=$(dirname "$0")
# shellcheck source-path=SCRIPTDIR
. "$here/whole.sh"
race=()
compiler=$("$GO" env CC)
# shellcheck disable=SC2086 # CC may carry options
if printf '#include <stdlib.h>\nint main(void) { return 0; }\n' | $compiler -x c -o /dev/null - 2>/dev/null; then
  race=(-race)
  export CGO_ENABLED=1
else
  echo "NOTE the race detector is off: the C compiler $compiler is missing or does not work"
fi
"$here/postgres.sh" "$GO" test "${race[@]}" -timeout 15m -skip "^($whole)\$" ./...
