#!/bin/bash
# flow.sh: steps 6 and 7 of the article, as unmodified SQL clients see them: before the keys change, after, and after a
# planned failover, on both servers and over the group's listeners. The query is step6.sql, the article's own. The keys
# are registered and the protectors changed (steps 1 to 4) by plain calls to Resource Manager. Stops at the first
# divergence; the last line is always "N passed, M failed".
#
#   crosskeys lab up && crosskeys lab seed && crosskeys lab exec -- bash e2e/sql/flow.sh
#
# sets the variables that say where the lab is:
#   EMU_PROXY CA_FILE                 the lab's CONNECT proxy and its certificate authority
#   CLIENT_ID CLIENT_SECRET TENANT_ID AZURE_SUBSCRIPTION_ID    the service principal, and what it owns
#   SQL_ADDR SQL_LOGIN SQL_PASSWORD   the SQL port of all servers, and their administrator
# and these may be set as well:
#   SQLCLIENTS   where scripts/sqlclients.sh put the clients      [.tools/sqlclients]
#   GOMSSQLDB    e2e/sql/gomssqldb, built                         [go run]
#   CLIENTS      which clients: sqlcmd tsql bsqldb gomssqldb tedious  [all of them]
set -uo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
: "${SQLCLIENTS:=$HERE/../../.tools/sqlclients}" "${GOMSSQLDB:=}" "${CLIENTS:=sqlcmd tsql bsqldb gomssqldb tedious}"
: "${EMU_PROXY:=}" "${CA_FILE:=}" "${CLIENT_ID:=}" "${CLIENT_SECRET:=}" "${TENANT_ID:=}" "${AZURE_SUBSCRIPTION_ID:=}" "${SQL_ADDR:=}" "${SQL_LOGIN:=}" "${SQL_PASSWORD:=}"
# shellcheck source-path=SCRIPTDIR source=harness.sh
. "$HERE/harness.sh"

for v in EMU_PROXY CA_FILE CLIENT_ID CLIENT_SECRET TENANT_ID AZURE_SUBSCRIPTION_ID SQL_ADDR SQL_LOGIN SQL_PASSWORD; do
  [ -n "${!v}" ] || fail "$v is not set: run this by crosskeys lab exec"
done

# ---- the article's names ------------------------------------------------------------------------------------------
GROUP=harshitha_lab PRIMARY=tdeprimarytest SECONDARY=tdesecondarytest FOG=tdefailovertest DOMAIN=database.windows.net
KEY_A=https://testprimarysubham.vault.azure.net/keys/subham/e0637ed7e3734f989b928101c79ca565
KEY_B=https://testanu2.vault.azure.net/keys/tey/29497babb0cb4af58a773104a5dd61e5
DATABASES=(orders)
SERVERS=/subscriptions/$AZURE_SUBSCRIPTION_ID/resourceGroups/$GROUP/providers/Microsoft.Sql/servers

key_name() { # KEY-ID -> the name of its server key
  local rest=${1#https://} vault
  vault=${rest%%.*} rest=${rest#*/keys/}
  echo "${vault}_${rest%/*}_${rest#*/}"
}
key_body() { echo "{\"properties\":{\"serverKeyType\":\"AzureKeyVault\",\"uri\":\"$1\"}}"; }
register() { arm PUT "$SERVERS/$1/keys/$(key_name "$2")" "$(key_body "$2")"; }
protect() { arm PUT "$SERVERS/$1/encryptionProtector/current" "{\"properties\":{\"serverKeyType\":\"AzureKeyVault\",\"serverKeyName\":\"$(key_name "$2")\"}}"; }
thumbprint() { # SERVER -> that of the key which is its protector
  local name
  arm GET "$SERVERS/$1/encryptionProtector/current" '' && name=$(sed -n 's/.*"serverKeyName": *"\([^"]*\)".*/\1/p' "$OUT") &&
    arm GET "$SERVERS/$1/keys/$name" '' && grep -o '"thumbprint": *"[0-9A-F]*"' "$OUT" | grep -o '[0-9A-F]\{40\}'
}

# everywhere TITLE THUMBPRINT HOST...: each client, asking the article's query, sees that thumbprint on each host.
everywhere() {
  local title=$1 want=$2 host client database
  shift 2
  for host in "$@"; do
    for database in "${DATABASES[@]}"; do
      settled "$host" "$database" "$want" || fail "$title: $host, $database" "$(cat "$ERR" "$ROWS")"
      for client in $CLIENTS; do
        says "$title: $client, $host, $database" "$database|3|ENCRYPTED|AES|256|ASYMMETRIC KEY|$want" "$client" "$host" "$database" "$HERE/step6.sql"
      done
    done
  done
}

# settled HOST DATABASE THUMBPRINT: waits until the first client sees it; the control plane is ahead of the databases.
settled() {
  local first=${CLIENTS%% *} try
  for try in $(seq 100); do
    "run_$first" "$1" "$2" "$HERE/step6.sql" && grep -q "$3" "$ROWS" && return 0
    sleep 0.1
  done
  return 1
}

# ---- the clients ---------------------------------------------------------------------------------------------------
part "the clients"
sign_in
for client in $CLIENTS; do
  "have_$client" || fail "$client is there" "run scripts/sqlclients.sh; set CLIENTS to do without it"
  pass "$client is there"
done

part "the starting point: one key for both"
A=$PRIMARY.$DOMAIN B=$SECONDARY.$DOMAIN
SHARED=$(thumbprint $PRIMARY) || fail "the primary has a protector" "$(cat "$OUT")"
everywhere "shared key" "$SHARED" "$A" "$B"
ask_one "who and where" "select @@servername" "$PRIMARY" "$A" "$FOG.$DOMAIN"
ask_one "who and where" "select @@servername" "$SECONDARY" "$B" "$FOG.secondary.$DOMAIN"

part "TDS 8.0 and tokens"
for client in sqlcmd gomssqldb tedious; do
  [[ " $CLIENTS " = *" $client "* ]] || continue
  ENCRYPT=strict says "strict: $client" "${DATABASES[0]}|3|ENCRYPTED|AES|256|ASYMMETRIC KEY|$SHARED" "$client" "$A" "${DATABASES[0]}" "$HERE/step6.sql"
done
for client in gomssqldb tedious; do
  [[ " $CLIENTS " = *" $client "* ]] || continue
  TOKEN=$(token https://$DOMAIN/.default) says "access token: $client" "${DATABASES[0]}|3|ENCRYPTED|AES|256|ASYMMETRIC KEY|$SHARED" "$client" "$A" "${DATABASES[0]}" "$HERE/step6.sql"
done

part "steps 1 to 4: a key for each region"
register $PRIMARY "$KEY_B" && pass "step 1: the secondary's key on the primary" || fail "step 1" "$(cat "$OUT")"
{ register $SECONDARY "$KEY_B" && protect $SECONDARY "$KEY_B"; } && pass "step 2: the secondary's protector" || fail "step 2" "$(cat "$OUT")"
register $SECONDARY "$KEY_A" && pass "step 3: the primary's key on the secondary" || fail "step 3" "$(cat "$OUT")"
{ register $PRIMARY "$KEY_A" && protect $PRIMARY "$KEY_A"; } && pass "step 4: the primary's protector" || fail "step 4" "$(cat "$OUT")"
OF_A=$(thumbprint $PRIMARY) OF_B=$(thumbprint $SECONDARY)
[ -n "$OF_A" ] && [ -n "$OF_B" ] && [ "$OF_A" != "$OF_B" ] && [ "$OF_A" != "$SHARED" ] && pass "two protectors, neither the shared one" || fail "two protectors" "$OF_A $OF_B $SHARED"

part "step 6: both copies are wrapped by the primary's key"
everywhere "step 6" "$OF_A" "$A" "$B" "$FOG.$DOMAIN" "$FOG.secondary.$DOMAIN"

part "what is written before the failover"
for client in $CLIENTS; do
  statement "create table dbo.by_$client (id int identity primary key, note nvarchar(40) not null); insert dbo.by_$client (note) values (N'before é')"
  says "$client writes over the listener" "" "$client" "$FOG.$DOMAIN" "${DATABASES[0]}" "$STATEMENT"
done
for client in $CLIENTS; do
  statement "insert dbo.by_$client (note) values (N'never')"
  refused "$client may not write to the secondary" 3906 "$client" "$B" "${DATABASES[0]}" "$STATEMENT"
done

part "step 7: planned failover"
arm POST "$SERVERS/$SECONDARY/failoverGroups/$FOG/failover" '' && pass "the group fails over" || fail "failover" "$(cat "$OUT")"
ask_one "the listener follows" "select @@servername" "$SECONDARY" "$FOG.$DOMAIN"
ask_one "the read-only listener follows" "select @@servername" "$PRIMARY" "$FOG.secondary.$DOMAIN"
everywhere "step 7" "$OF_B" "$A" "$B" "$FOG.$DOMAIN" "$FOG.secondary.$DOMAIN"
for client in $CLIENTS; do
  statement "insert dbo.by_$client (note) values (N'after ✓')"
  says "$client writes to the new primary" "" "$client" "$FOG.$DOMAIN" "${DATABASES[0]}" "$STATEMENT"
  statement "select id, note from dbo.by_$client order by id"
  says "$client finds both rows" $'1|before é\n2|after ✓' "$client" "$FOG.$DOMAIN" "${DATABASES[0]}" "$STATEMENT"
done

part "refusals"
statement "select 1"
for client in $CLIENTS; do
  SQL_PASSWORD=wrong refused "wrong password: $client" "Login failed" "$client" "$A" "${DATABASES[0]}" "$STATEMENT"
  refused "no such database: $client" "Cannot open database\\|Login failed" "$client" "$A" nothing "$STATEMENT"
  refused "no such server: $client" "Cannot open server" "$client" "nothing.$DOMAIN" "${DATABASES[0]}" "$STATEMENT"
done
