#!/bin/bash
# matrices.sh: the tests that cover every point of something, as a whole and without the race detector: the tool killed
# at every point, failovers and troubles at every point, the random scenarios.
set -euo pipefail
GO=${GO:-go}
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/whole.sh"
CROSSKEYS_WHOLE=1 CGO_ENABLED=0 "$GO" test -count 1 -v -timeout 30m -run "^($whole|TestSimulation)\$" ./cmd/crosskeys ./run ./sim |
  grep -v -e '^=== ' -e '^ *--- \(PASS\|SKIP\)'
