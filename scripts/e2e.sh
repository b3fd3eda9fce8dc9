#!/bin/bash
# e2e.sh CROSSKEYS: the real Azure CLI, installed first where it is missing, against a lab of its own.
#
# Where it cannot be installed the run is skipped by name; with CI=true that is a failure, so that a pipeline
# cannot lose the test unseen.
set -euo pipefail
crosskeys=${1:?the path of the crosskeys binary}
cd "$(dirname "${BASH_SOURCE[0]}")/.."

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

why=
if ! command -v az >/dev/null && ! install_az; then
  echo "SKIP e2e/az/flow.sh: the Azure CLI is missing: ${why:-az is not on PATH}"
  case ${CI:-} in
    '' | 0 | false) exit 0 ;;
    *) echo "FAIL a skipped end-to-end test fails where CI is set" && exit 1 ;;
  esac
fi
"$crosskeys" lab exec -- bash e2e/az/flow.sh
