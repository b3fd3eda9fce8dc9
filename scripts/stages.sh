#!/bin/bash
# stages.sh STAGE...: runs make targets one after the other and says of each, on one line, how it ended and how long
# it took. All of them are run, whichever fails; the exit status is 0 only when none did. Stages joined by a plus, as
# in e2e+matrices, run side by side; what each says comes when it has ended.
#
# What a stage prints goes to .logs/STAGE.log. Shown from it are the lines that a reader of a good run wants
# (packages of go test, parts and count of an end-to-end run, what was skipped and why), and all of it on failure.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
shown='^(ok  	|FAIL|--- FAIL|---- |SKIP |NOTE |[0-9]+ passed, )'
logs=.logs
longest=600 # lines of a failed stage's log that are printed
causes='^ *--- FAIL|^panic: |^fatal error: |WARNING: DATA RACE|_test\.go:[0-9]+: |^FAIL |: error: '
mkdir -p "$logs"
trap 'echo; exit 130' INT

seconds() { awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f s", b - a }'; }

# run_stage STAGE: shows lines as they come; leaves the heading open until the first of them.
run_stage() {
  local stage=$1 line open=1 rc began=$EPOCHREALTIME
  printf '== %-12s ' "$stage"
  while IFS= read -r line; do
    printf '%s\n' "$line" >&3
    if [[ $line =~ $shown ]]; then
      [ "$open" = 0 ] || echo
      open=0
      printf '   %s\n' "$line"
    fi
  done < <("${MAKE:-make}" "$stage" 2>&1; echo $? >"$logs/$stage.rc") 3>"$logs/$stage.log"
  rc=$(cat "$logs/$stage.rc")
  rm -f "$logs/$stage.rc"
  [ "$open" = 1 ] || printf '== %-12s ' "$stage"
  if [ "$rc" = 0 ]; then
    echo "ok, $(seconds "$began")"
    return 0
  fi
  echo "FAILED, $(seconds "$began"); $logs/$stage.log ends:"
  tail -n "$longest" "$logs/$stage.log" | sed 's/^/   | /'
  return 1
}

# run_together STAGE...: side by side, each told as a whole.
run_together() {
  local stage rc=0 pids=()
  for stage in "$@"; do
    (run_stage "$stage" >"$logs/$stage.said" 2>&1; rc=$?; cat "$logs/$stage.said"; rm -f "$logs/$stage.said"; exit $rc) &
    pids+=($!)
  done
  local i
  for i in "${!pids[@]}"; do
    if ! wait "${pids[$i]}"; then
      rc=1
      failed+=("${*:i+1:1}")
    fi
  done
  return $rc
}

began=$EPOCHREALTIME
failed=()
count=0
for stage in "$@"; do
  IFS=+ read -ra together <<<"$stage"
  count=$((count + ${#together[@]}))
  if [ ${#together[@]} -gt 1 ]; then
    run_together "${together[@]}" || true
  else
    run_stage "$stage" || failed+=("$stage")
  fi
done
if [ ${#failed[@]} -gt 0 ]; then
  # Once more, since a record of this may keep the end alone: what failed in them.
  for stage in "${failed[@]}"; do
    grep -nE "$causes" "$logs/$stage.log" | cut -c 1-400 | tail -n 30 | sed "s/^/   $stage: /"
  done
  echo "FAILED: ${failed[*]} (of $count stages, $(seconds "$began"))"
  exit 1
fi
echo "all $count stages passed, $(seconds "$began")"
