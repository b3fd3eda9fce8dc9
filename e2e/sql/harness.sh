# shellcheck shell=bash
# harness.sh: what flow.sh needs to drive SQL clients and Resource Manager, and to judge their answers. Sourced, not run.
#
# Each client is a function run_NAME HOST DATABASE FILE, which runs the batch in FILE and leaves its rows in $ROWS: a line
# each, values separated by |, binary ones in upper-case hexadecimal without 0x.

PASSED=0 FAILED=0
WORK=$(mktemp -d)
OUT=$WORK/out ERR=$WORK/err ROWS=$WORK/rows STATEMENT=$WORK/statement.sql

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

# ---- Resource Manager -----------------------------------------------------------------------------------------------
web() { curl -sS --max-time 30 -x "$EMU_PROXY" --cacert "$CA_FILE" "$@"; }

token() { # SCOPE -> an access token
  web -d grant_type=client_credentials -d "client_id=$CLIENT_ID" -d "client_secret=$CLIENT_SECRET" --data-urlencode "scope=$1" \
    "https://login.microsoftonline.com/$TENANT_ID/oauth2/v2.0/token" | sed -n 's/.*"access_token": *"\([^"]*\)".*/\1/p'
}

sign_in() {
  ARM_TOKEN=$(token https://management.azure.com/.default)
  [ -n "$ARM_TOKEN" ] || fail "sign in"
  pass "sign in"
}

# arm METHOD PATH BODY: makes a call and waits until its operation has succeeded. The answer is in $OUT.
arm() {
  local poll status code args=(-X "$1" -H "Authorization: Bearer $ARM_TOKEN" -D "$WORK/head" -o "$OUT" -w '%{http_code}')
  if [ "$1" != GET ]; then args+=(-H 'Content-Type: application/json' -d "$3"); fi
  code=$(web "${args[@]}" "https://management.azure.com$2?api-version=2023-08-01") || return 1
  case $code in 20[014]) return 0 ;; 202) ;; *) return 1 ;; esac
  poll=$(tr -d '\r' <"$WORK/head" | sed -n 's/^[Aa]zure-[Aa]sync[Oo]peration: //p')
  for _ in $(seq 600); do
    web -H "Authorization: Bearer $ARM_TOKEN" -o "$OUT" "$poll" || return 1
    status=$(sed -n 's/.*"status": *"\([A-Za-z]*\)".*/\1/p' "$OUT")
    case $status in Succeeded) return 0 ;; Failed | Canceled) return 1 ;; esac
    sleep 0.1
  done
  return 1
}

# ---- the clients ------------------------------------------------------------------------------------------------------
label() { echo "${1%".$DOMAIN"}"; } # what follows @ in a login: the server, as far as the domain

# tidy: what clients print around rows is dropped, binary values are brought to one form.
tidy() { sed -E 's/\r$//; s/[[:space:]]*\|[[:space:]]*/|/g; s/^[[:space:]]+//; s/[[:space:]]+$//; /^$/d; s/0[xX]([0-9a-fA-F]+)$/\U\1/; s/\|([0-9a-f]{40})$/|\U\1/'; }

have_sqlcmd() { [ -x "$SQLCLIENTS/sqlcmd" ]; }
run_sqlcmd() {
  SQLCMDPASSWORD=$SQL_PASSWORD SSL_CERT_FILE=$CA_FILE "$SQLCLIENTS/sqlcmd" -S "tcp:${SQL_ADDR/:/,}" -N "${ENCRYPT:-true}" -U "$SQL_LOGIN@$(label "$1")" \
    -d "$2" -i "$3" -b -y 0 -h -1 -s '|' -W >"$OUT" 2>"$ERR" </dev/null
  local rc=$?
  grep -Ev '^\([0-9]+ rows? affected\)$' "$OUT" | tidy >"$ROWS"
  return $rc
}

# FreeTDS goes where freetds.conf says, and gives the section's name as the server's.
freetds() {
  printf '[%s]\n host = %s\n port = %s\n tds version = 7.4\n encryption = require\n ca file = %s\n check certificate hostname = no\n client charset = UTF-8\n text size = 1000000\n' \
    "$1" "${SQL_ADDR%:*}" "${SQL_ADDR#*:}" "$CA_FILE" >"$WORK/freetds.conf"
}

have_tsql() { command -v tsql >/dev/null; }
run_tsql() {
  freetds "$1"
  { cat "$3" && printf '\nGO\nEXIT\n'; } | FREETDSCONF=$WORK/freetds.conf env -u TDSHOST -u TDSPORT tsql -S "$1" -U "$SQL_LOGIN" -P "$SQL_PASSWORD" -D "$2" -o fhq -t '|' >"$OUT" 2>"$ERR"
  local rc=$?
  tidy <"$OUT" | grep -Ev '^(locale |using default charset|Setting .* as default database)' >"$ROWS"
  # It ends well whatever the server said.
  ! grep -q '^Msg [0-9]* (severity \(1[1-9]\|2[0-9]\)' "$OUT" "$ERR" || return 1
  return $rc
}

have_bsqldb() { command -v bsqldb >/dev/null; }
run_bsqldb() {
  freetds "$1"
  FREETDSCONF=$WORK/freetds.conf env -u TDSHOST -u TDSPORT bsqldb -S "$1" -U "$SQL_LOGIN" -P "$SQL_PASSWORD" -D "$2" -i "$3" -h -q -t '|' >"$OUT" 2>"$ERR" </dev/null
  local rc=$?
  tidy <"$OUT" >"$ROWS"
  ! grep -q 'Msg [0-9]*, Level \(1[1-9]\|2[0-9]\)' "$ERR" || return 1
  return $rc
}

have_gomssqldb() { [ -x "$GOMSSQLDB" ] || command -v go >/dev/null; }
run_gomssqldb() {
  if [ -x "$GOMSSQLDB" ]; then "$GOMSSQLDB" "$@"; else (cd "$HERE" && go run ./gomssqldb "$@"); fi >"$OUT" 2>"$ERR" </dev/null
  local rc=$?
  tidy <"$OUT" >"$ROWS"
  return $rc
}

have_tedious() { command -v node >/dev/null && [ -d "$SQLCLIENTS/node_modules/tedious" ]; }
run_tedious() {
  NODE_PATH=$SQLCLIENTS/node_modules node "$HERE/tedious.cjs" "$@" >"$OUT" 2>"$ERR" </dev/null
  local rc=$?
  tidy <"$OUT" >"$ROWS"
  return $rc
}

statement() { printf '%s\n' "$1" >"$STATEMENT"; }

# says TITLE ROWS CLIENT HOST DATABASE FILE: the client succeeds with those rows.
says() {
  local title=$1 want=$2 client=$3
  shift 3
  "run_$client" "$@" || fail "$title" "exit code $?"$'\n'"$(cat "$ERR" "$OUT")"
  [ "$(cat "$ROWS")" = "$want" ] || fail "$title" "wanted: $want"$'\n'"got:    $(cat "$ROWS")"$'\n'"$(cat "$ERR")"
  pass "$title"
}

# refused TITLE TEXT CLIENT HOST DATABASE FILE: the client fails, and its words have the text.
refused() {
  local title=$1 text=$2 client=$3
  shift 3
  ! "run_$client" "$@" || fail "$title" "it succeeded: $(cat "$ROWS")"
  grep -q "$text" "$ERR" "$OUT" || fail "$title" "wanted: $text"$'\n'"$(cat "$ERR" "$OUT")"
  pass "$title"
}

# ask_one TITLE STATEMENT ANSWER HOST...: every client gets that one answer at each host.
ask_one() {
  local title=$1 want=$3 host client
  statement "$2"
  shift 3
  for host in "$@"; do
    for client in $CLIENTS; do
      says "$title: $client, $host" "$want" "$client" "$host" "${DATABASES[0]}" "$STATEMENT"
    done
  done
}
