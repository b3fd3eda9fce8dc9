# shellcheck shell=bash
# harness.sh: what flow.sh needs to drive the Azure CLI and to judge its answers. Sourced, not run.
#
# Everything stays on loopback: the CLI's only way out is the lab's proxy, which itself refuses every host that
# the lab does not serve, and plain http goes to a port on which nothing listens.

PASSED=0 FAILED=0
WORK=$(mktemp -d)
OUT=$WORK/out ERR=$WORK/err GOT=
NOWHERE=http://127.0.0.1:9 # the discard port: a connection is refused at once

# The last line of a run is always the count, whatever ended it.
count() {
  local rc=$?
  if [ "$rc" != 0 ] && [ "$FAILED" = 0 ]; then FAILED=1; fi
  rm -rf "$WORK"
  echo "$PASSED passed, $FAILED failed"
  [ "$FAILED" = 0 ] || exit 1
}
trap count EXIT

pass() {
  PASSED=$((PASSED + 1))
  echo "pass $1"
}

# fail TITLE [DETAIL]: ends the run, since whatever follows would build on a state that is not there.
fail() {
  FAILED=$((FAILED + 1))
  echo "FAIL $1"
  [ $# -lt 2 ] || printf '%s\n' "$2" | sed 's/^/       /'
  exit 1
}

part() { echo "---- $1"; }

# ---- running az ---------------------------------------------------------------------------------------------------
host_of() { # URL -> its host, without the port
  local h=${1#*://}
  h=${h%%/*}
  case $h in
    \[*) h=${h#[} && echo "${h%%]*}" ;;
    *) echo "${h%%:*}" ;;
  esac
}

on_loopback() { # URL
  case $(host_of "$1") in
    localhost | 127.* | ::1) return 0 ;;
    *) return 1 ;;
  esac
}

# fresh_az NAME: from here on az keeps its state in a folder of this run, one for each NAME.
fresh_az() {
  export AZURE_CONFIG_DIR=$WORK/$1
  mkdir -p "$AZURE_CONFIG_DIR"
  # The first command of a new folder asks the internet for newer releases; failing once here, it never asks again.
  HTTPS_PROXY=$NOWHERE NO_PROXY='' az_run version -o json || fail "az starts" "$(tail -5 "$ERR")"
}

confine() {
  on_loopback "$EMU_PROXY" || fail "the proxy $EMU_PROXY is on loopback"
  unset http_proxy https_proxy all_proxy no_proxy ALL_PROXY
  export HTTPS_PROXY=$EMU_PROXY HTTP_PROXY=$NOWHERE NO_PROXY=localhost,127.0.0.1
  export REQUESTS_CA_BUNDLE=$CA_FILE SSL_CERT_FILE=$CA_FILE
  export AZURE_CORE_COLLECT_TELEMETRY=false AZURE_CORE_ERROR_RECOMMENDATION=off AZURE_CORE_SURVEY_MESSAGE=false
  export AZURE_CORE_NO_COLOR=true AZURE_CORE_DISABLE_CONFIRM_PROMPT=true AZURE_EXTENSION_USE_DYNAMIC_INSTALL=no
  export AZURE_CLIENTS_SHOW_SECRETS_WARNING=false AZURE_CORE_INSTANCE_DISCOVERY=false PYTHONDONTWRITEBYTECODE=1
}

az_run() { "$AZ" "$@" --only-show-errors >"$OUT" 2>"$ERR" </dev/null; }

squeeze() { tr -d ' \n\t'; } # JSON is compared without its layout

# ask TITLE QUERY AZ-ARGS...: the command must succeed; GOT becomes what the JMESPath query finds, as squeezed JSON.
ask() {
  local title=$1 query=$2
  shift 2
  az_run "$@" --query "$query" -o json || fail "$title (az $1 $2 ${3:-}: exit $?)" "$(tail -5 "$ERR")"
  GOT=$(squeeze <"$OUT")
}

# do_az TITLE AZ-ARGS...: the command must succeed; what it prints is of no interest.
do_az() {
  local title=$1
  shift
  ask "$title" '@' "$@"
  pass "$title"
}

expect() { # TITLE WANTED: about GOT
  local want
  want=$(printf '%s' "$2" | squeeze)
  [ "$GOT" = "$want" ] || fail "$1" "wanted: $want"$'\n'"got:    $GOT"
  pass "$1"
}

# check TITLE QUERY WANTED AZ-ARGS...
check() {
  local title=$1 query=$2 want=$3
  shift 3
  ask "$title" "$query" "$@"
  expect "$title" "$want"
}

# check_ids: like check, for answers with resource ids in them, whose case means nothing to Azure.
check_ids() {
  local title=$1 query=$2 want=$3
  shift 3
  ask "$title" "$query" "$@"
  GOT=${GOT,,}
  expect "$title" "${want,,}"
}

# take VARIABLE TITLE QUERY AZ-ARGS...: the query finds one string, which the variable keeps.
take() {
  local variable=$1 title=$2 query=$3
  shift 3
  ask "$title" "$query" "$@"
  case $GOT in
    '"'*'"') printf -v "$variable" %s "${GOT:1:${#GOT}-2}" ;;
    *) fail "$title" "no string at $query: $GOT" ;;
  esac
  pass "$title"
}

# refused TITLE CODES AZ-ARGS...: the command must fail, and for a reason that is one of CODES (separated by |).
refused() {
  local title=$1 codes=$2 code
  shift 2
  if az_run "$@" -o json; then fail "$title: az exited 0" "$(head -c 600 "$OUT")"; fi
  code=$(grep -m1 -owE "$codes" "$ERR") || fail "$title: not for $codes" "$(tail -5 "$ERR")"
  pass "$title: $code"
}

# together COMMAND...: runs commands whose effects do not meet, as many at a time as there are processors; az spends
# most of its time starting. Variables that they set are lost. What they say is printed in their order.
together() {
  local command i=0 rc=0 jobs=() most
  most=$(nproc 2>/dev/null || echo 2)
  for command in "$@"; do
    [ "$(jobs -pr | wc -l)" -lt "$most" ] || wait -n || true
    (OUT=$WORK/out.$i ERR=$WORK/err.$i && eval "$command") >"$WORK/said.$i" 2>&1 &
    jobs[i]=$!
    i=$((i + 1))
  done
  for i in "${!jobs[@]}"; do
    wait "${jobs[i]}" || rc=1
    cat "$WORK/said.$i"
    PASSED=$((PASSED + $(grep -c '^pass ' "$WORK/said.$i")))
  done
  [ "$rc" = 0 ] || { FAILED=$((FAILED + 1)) && exit 1; }
}
