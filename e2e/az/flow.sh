#!/bin/bash
# flow.sh: the unmodified Azure CLI moves a failover group from one shared customer-managed key to one key per
# region, fails over and back, and is refused wherever Azure refuses. Stops at the first divergence; the last line is
# always "N passed, M failed".
#
#   crosskeys lab exec -- bash e2e/az/flow.sh
#
# sets the variables that say where the lab is:
#   EMU_PROXY         the lab's CONNECT proxy, such as http://127.0.0.1:8081
#   CA_FILE           PEM file of the lab's certificate authority
#   ARM_ENDPOINT      Azure Resource Manager                                 [https://localhost:8443]
#   AUTHORITY         sign-in; ends in /adfs, the form that MSAL accepts from any host  [$ARM_ENDPOINT/adfs]
#   AUDIENCE          audience of tokens for ARM                             [$ARM_ENDPOINT]
#   GRAPH_ENDPOINT    Microsoft Graph                                        [$ARM_ENDPOINT]
#   VAULT_DNS_SUFFIX  what follows a vault's name                            [.vault.azure.net]
#   CLIENT_ID CLIENT_SECRET TENANT_ID    the service principal
# and these may be set as well:
#   AZ                the CLI                                                [az]
#   LOC_A LOC_B       the two regions                                        [northeurope westeurope]
#   RUN               suffix of every name                                   [random]
#   KV_VIA            how keys are made: auto, keyvault (az keyvault key), rest (az rest)  [auto]
#   CLEANUP           1 deletes both resource groups at the end              [0]
#   CROSSKEYS         the crosskeys binary, to ask the lab's monitor; without it that part is left out  []
set -uo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
: "${AZ:=az}" "${ARM_ENDPOINT:=https://localhost:8443}" "${EMU_PROXY:=}" "${CA_FILE:=}" "${CLEANUP:=0}"
ARM_ENDPOINT=${ARM_ENDPOINT%/}
: "${AUTHORITY:=$ARM_ENDPOINT/adfs}" "${AUDIENCE:=$ARM_ENDPOINT}" "${GRAPH_ENDPOINT:=$ARM_ENDPOINT}"
: "${VAULT_DNS_SUFFIX:=.vault.azure.net}" "${KV_VIA:=auto}" "${LOC_A:=northeurope}" "${LOC_B:=westeurope}"
: "${CROSSKEYS:=}" "${CLIENT_ID:=}" "${CLIENT_SECRET:=}" "${TENANT_ID:=}"
: "${RUN:=$(od -An -N3 -tx1 /dev/urandom | tr -d ' \n')}"
# shellcheck source-path=SCRIPTDIR source=harness.sh
. "$HERE/harness.sh"

for v in EMU_PROXY CA_FILE CLIENT_ID CLIENT_SECRET TENANT_ID; do
  [ -n "${!v}" ] || fail "$v is not set: run this by crosskeys lab exec"
done
command -v "$AZ" >/dev/null || fail "no $AZ on this machine (Debian: apt-get install azure-cli)"

declare -A RG=([A]=rg-a-$RUN [B]=rg-b-$RUN) SQL=([A]=sql-a-$RUN [B]=sql-b-$RUN) KV=([A]=kv-a-$RUN [B]=kv-b-$RUN)
declare -A LOC=([A]=$LOC_A [B]=$LOC_B) PRINCIPAL=() KID=() NAME=()
FOG=fog-$RUN DB=orders SUB=

# ---- sign in ------------------------------------------------------------------------------------------------------
part "a cloud of its own, and a service principal"
confine
fresh_az custom
take VERSION "az starts" '"azure-cli"' version
echo "#    azure-cli $VERSION"
cat >"$WORK/cloud.json" <<J
{"endpoints": {"resourceManager": "$ARM_ENDPOINT", "management": "$ARM_ENDPOINT", "activeDirectory": "$AUTHORITY",
  "activeDirectoryResourceId": "$AUDIENCE", "activeDirectoryGraphResourceId": "$GRAPH_ENDPOINT",
  "microsoftGraphResourceId": "$GRAPH_ENDPOINT"},
 "suffixes": {"keyvaultDns": "$VAULT_DNS_SUFFIX", "sqlServerHostname": ".database.windows.net"}}
J
do_az "cloud register" cloud register -n Lab --cloud-config "@$WORK/cloud.json"
do_az "cloud set" cloud set -n Lab
refused "login with a wrong secret" AADSTS7000215 \
  login --service-principal -u "$CLIENT_ID" -p "not-$RUN" --tenant "$TENANT_ID"
take SUB "login" '[0].id' login --service-principal -u "$CLIENT_ID" -p "$CLIENT_SECRET" --tenant "$TENANT_ID"
check "one enabled subscription, in the tenant" '[state, tenantId, id]' "[\"Enabled\", \"$TENANT_ID\", \"$SUB\"]" account show

# ---- how this az reaches keys -------------------------------------------------------------------------------------
keyvault_works() { az_run keyvault key create --help && az_run keyvault key rotate --help; }
if [ "$KV_VIA" = auto ]; then
  KV_VIA=keyvault
  if ! keyvault_works; then
    export PYTHONPATH=$HERE/debian-shim${PYTHONPATH:+:$PYTHONPATH}
    keyvault_works || KV_VIA=rest
  fi
fi
echo "#    keys by: $KV_VIA${PYTHONPATH:+ with debian-shim}"

vault_rest() { # METHOD VAULT PATH [BODY]: the arguments of az that make one data-plane request, in ARGS
  ARGS=(rest --method "$1" --resource "https://${VAULT_DNS_SUFFIX#.}" --url "https://$2$VAULT_DNS_SUFFIX/keys/$3?api-version=7.4")
  [ $# -lt 4 ] || ARGS+=(--body "$4")
}

key_args() { # create|show|rotate|enable|disable VAULT KEY: the arguments of az, in ARGS
  if [ "$KV_VIA" = keyvault ]; then
    case $1 in
      create) ARGS=(keyvault key create --kty RSA --size 2048) ;;
      show | rotate) ARGS=(keyvault key "$1") ;;
      enable) ARGS=(keyvault key set-attributes --enabled true) ;;
      disable) ARGS=(keyvault key set-attributes --enabled false) ;;
    esac
    ARGS+=(--vault-name "$2" -n "$3")
    return
  fi
  case $1 in
    create) vault_rest post "$2" "$3/create" '{"kty":"RSA","key_size":2048}' ;;
    show) vault_rest get "$2" "$3" ;;
    rotate) vault_rest post "$2" "$3/rotate" '{}' ;;
    enable) vault_rest patch "$2" "$3" '{"attributes":{"enabled":true}}' ;;
    disable) vault_rest patch "$2" "$3" '{"attributes":{"enabled":false}}' ;;
  esac
}

# new_version LABEL create|rotate VAULT KEY: makes a key, or a newer version of it, known as LABEL from here on.
new_version() {
  local label=$1 verb=$2 vault=$3 key=$4 kid
  key_args "$verb" "$vault" "$key"
  take kid "key $label: $verb $vault/$key" key.kid "${ARGS[@]}"
  [[ $kid =~ ^https://$vault\.vault\.azure\.net/keys/$key/[0-9a-f]{32}$ ]] || fail "key $label: an id that az sql takes" "$kid"
  KID[$label]=$kid NAME[$label]=${vault}_${key}_${kid##*/}
  key_args show "$vault" "$key"
  check "key $label: the newest version, RSA, enabled" '[key.kid, key.kty, attributes.enabled]' "[\"$kid\", \"RSA\", true]" "${ARGS[@]}"
}

# ---- what a server is asked and told --------------------------------------------------------------------------------
on() { ARGS=(-g "${RG[$1]}" -s "${SQL[$1]}"); } # SERVER

register() { # KEY SERVER
  on "$2"
  check "key $1 registered on server $2" '[name, serverKeyType, uri, kind]' \
    "[\"${NAME[$1]}\", \"AzureKeyVault\", \"${KID[$1]}\", \"azurekeyvault\"]" sql server key create "${ARGS[@]}" -k "${KID[$1]}"
  check "  and shown there, with a date and a thumbprint" '[name, type(creationDate), length(thumbprint)]' \
    "[\"${NAME[$1]}\", \"string\", 40]" sql server key show "${ARGS[@]}" -k "${KID[$1]}"
}
register_refused() { # KEY SERVER CODES WHY
  on "$2"
  refused "key $1 on server $2, $4" "$3" sql server key create "${ARGS[@]}" -k "${KID[$1]}"
}
deregister_refused() { # KEY SERVER CODES WHY
  on "$2"
  refused "key $1 off server $2, $4" "$3" sql server key delete "${ARGS[@]}" -k "${KID[$1]}"
}
protect() { # SERVER KEY
  on "$1"
  do_az "server $1's protector becomes key $2" sql server tde-key set "${ARGS[@]}" -t AzureKeyVault -k "${KID[$2]}"
  protector_is "$1" "$2"
}
protect_refused() { # SERVER KEY CODES WHY
  on "$1"
  refused "server $1's protector to key $2, $4" "$3" sql server tde-key set "${ARGS[@]}" -t AzureKeyVault -k "${KID[$2]}"
}
protector_is() { # SERVER KEY
  on "$1"
  check "  server $1's protector is key $2" '[name, kind, serverKeyType, serverKeyName, uri]' \
    "[\"current\", \"azurekeyvault\", \"AzureKeyVault\", \"${NAME[$2]}\", \"${KID[$2]}\"]" sql server tde-key show "${ARGS[@]}"
}
keys_are() { # SERVER KEY...
  local s=$1 k names=(ServiceManaged)
  shift
  for k in "$@"; do names+=("${NAME[$k]}"); done
  on "$s"
  check "  server $s has the keys ServiceManaged $*" 'sort([].name)' \
    "[$(printf '"%s"\n' "${names[@]}" | LC_ALL=C sort | paste -sd,)]" sql server key list "${ARGS[@]}"
}
server_id() { echo "/subscriptions/$SUB/resourceGroups/${RG[$1]}/providers/Microsoft.Sql/servers/${SQL[$1]}"; } # SERVER
partner() { if [ "$1" = A ]; then echo B; else echo A; fi; }                                                     # SERVER

primary_is() { # SERVER: as both ends tell it
  local o
  o=$(partner "$1")
  together "group_on $1 Primary Secondary" "link_on $1 Primary Secondary" "group_on $o Secondary Primary" "link_on $o Secondary Primary"
}
group_on() { # SERVER ITS-ROLE PARTNER'S-ROLE
  on "$1"
  check_ids "  failover group on server $1: $2, caught up, its own databases" \
    '[replicationRole, replicationState, partnerServers[].[replicationRole, id], databases]' \
    "[\"$2\", \"CATCH_UP\", [[\"$3\", \"$(server_id "$(partner "$1")")\"]], [\"$(server_id "$1")/databases/$DB\"]]" \
    sql failover-group show "${ARGS[@]}" -n "$FOG"
}
link_on() { # SERVER ITS-ROLE PARTNER'S-ROLE
  on "$1"
  check "  one link on server $1, $2 to $3" '[].[role, partnerRole, partnerServer, partnerDatabase, linkType, replicationState]' \
    "[[\"$2\", \"$3\", \"${SQL[$(partner "$1")]}\", \"$DB\", \"GEO\", \"CATCH_UP\"]]" sql db replica list-links "${ARGS[@]}" -n "$DB"
}
encrypted_on() { # SERVER
  on "$1"
  check "  the database on server $1 is encrypted" state '"Enabled"' sql db tde show "${ARGS[@]}" -d "$DB"
}
make_primary() { # SERVER
  on "$1"
  do_az "planned failover to server $1" sql failover-group set-primary "${ARGS[@]}" -n "$FOG"
  primary_is "$1"
}

# ---- groups, vaults, servers ----------------------------------------------------------------------------------------
part "two regions: a group, a vault and a server in each"
make_region() { # SERVER
  local s=$1
  check "group $s" properties.provisioningState '"Succeeded"' group create -n "${RG[$s]}" -l "${LOC[$s]}"
  check "vault $s: soft delete, purge protection, a policy for its maker" \
    'properties.[provisioningState, enableSoftDelete, enablePurgeProtection, softDeleteRetentionInDays, length(accessPolicies)]' \
    '["Succeeded", true, true, 7, 1]' \
    keyvault create -g "${RG[$s]}" -n "${KV[$s]}" -l "${LOC[$s]}" --enable-purge-protection true --retention-days 7
  check "  found by its name alone" name "\"${KV[$s]}\"" keyvault show -n "${KV[$s]}"
  check "server $s: ready, with an identity, without its password" \
    '[state, version, identity.type, fullyQualifiedDomainName, administratorLoginPassword]' \
    "[\"Ready\", \"12.0\", \"SystemAssigned\", \"${SQL[$s]}.database.windows.net\", null]" \
    sql server create -g "${RG[$s]}" -n "${SQL[$s]}" -l "${LOC[$s]}" -u sqladmin -p "Pa55-$RUN-word!" --assign-identity
  on "$s"
  check "  it starts service-managed" '[kind, serverKeyType, serverKeyName, uri]' \
    '["servicemanaged", "ServiceManaged", "ServiceManaged", null]' sql server tde-key show "${ARGS[@]}"
}
together "make_region A" "make_region B"
for s in A B; do
  take "PRINCIPAL[$s]" "server $s has a principal" identity.principalId sql server show -g "${RG[$s]}" -n "${SQL[$s]}"
done
[ "${PRINCIPAL[A]}" != "${PRINCIPAL[B]}" ] || fail "each server has an identity of its own" "${PRINCIPAL[A]}"
pass "each server has an identity of its own"

part "keys, and grants on both vaults for both identities"
new_version A1 create "${KV[A]}" tde
new_version B1 create "${KV[B]}" tde
register_refused A1 A 'AzureKeyVaultMissingPermissions' "before any grant"
grant() { # VAULT'S-LETTER: one server after the other, since set-policy writes the whole vault
  local s
  for s in A B; do
    do_az "server $s may use vault $1" keyvault set-policy -g "${RG[$1]}" -n "${KV[$1]}" --object-id "${PRINCIPAL[$s]}" \
      --key-permissions get wrapKey unwrapKey
  done
  check "vault $1 has three policies" 'length(properties.accessPolicies)' 3 keyvault show -g "${RG[$1]}" -n "${KV[$1]}"
}
together "grant A" "grant B"

# ---- phase 1 --------------------------------------------------------------------------------------------------------
part "phase 1: both servers share key A1"
protect_refused A B1 'ServerKeyNotFound' "which it does not have"
together "register A1 B" "register A1 A"
together "protect B A1" "protect A A1"
on A
check "a database" '[status, name, currentServiceObjectiveName]' "[\"Online\", \"$DB\", \"GP_Gen5_2\"]" \
  sql db create "${ARGS[@]}" -n "$DB" --service-objective GP_Gen5_2 --yes
encrypted_on A
check "a failover group" '[readWriteEndpoint.failoverPolicy, readOnlyEndpoint.failoverPolicy]' '["Manual", "Disabled"]' \
  sql failover-group create "${ARGS[@]}" -n "$FOG" --partner-server "${SQL[B]}" --partner-resource-group "${RG[B]}" \
  --failover-policy Manual --add-db "$DB"
check "  listed on server A" '[].name' "[\"$FOG\"]" sql failover-group list "${ARGS[@]}"
primary_is A
on B
take REGION "the geo-secondary has a location" location sql db show "${ARGS[@]}" -n "$DB"
GOT=${REGION,,}
expect "  which is region B" "$LOC_B"
encrypted_on B

# ---- phase 2 --------------------------------------------------------------------------------------------------------
part "phase 2: a protector of its own for each server"
new_version SPARE create "${KV[A]}" spare
register SPARE A
protect_refused A SPARE 'SameKeyMaterialNotFoundOnRemoteServer' "which the secondary does not have"
together "protector_is A A1" "keys_are B A1"
together "register B1 B" "register B1 A"
together "keys_are A A1 B1 SPARE" "keys_are B A1 B1"
protect B B1
protector_is A A1
deregister_refused B1 B 'AzureKeyVaultKeyInUse' "whose protector it is"
keys_are B A1 B1

# ---- phase 3 --------------------------------------------------------------------------------------------------------
part "phase 3: failover, and back"
on A
GROUP_ON_PRIMARY=$ARM_ENDPOINT$(server_id A)/failoverGroups/$FOG
refused "failover asked of the primary" 'FailoverGroupFailoverRequestOnPrimary|FailoverGroupNotSecondary' \
  rest --method post --resource "$AUDIENCE" --url "$GROUP_ON_PRIMARY/failover?api-version=2023-08-01"
on B
refused "the group changed on its secondary" FailoverGroupUpdateOrDeleteRequestOnSecondary \
  sql failover-group update "${ARGS[@]}" -n "$FOG" --grace-period 2 --failover-policy Automatic
refused "the group deleted on its secondary" FailoverGroupUpdateOrDeleteRequestOnSecondary \
  sql failover-group delete "${ARGS[@]}" -n "$FOG"
primary_is A
make_primary B
together "protector_is A A1" "protector_is B B1" "keys_are A A1 B1 SPARE" "keys_are B A1 B1" "encrypted_on B"
do_az "failover to the server that is primary already" sql failover-group set-primary "${ARGS[@]}" -n "$FOG"
group_on B Primary Secondary
make_primary A
together "protector_is A A1" "protector_is B B1" "encrypted_on A" "encrypted_on B"

# ---- phase 4 --------------------------------------------------------------------------------------------------------
part "phase 4: what Azure refuses"
deregister_refused A1 B 'AzureKeyVaultKeyUsedOnGeoPrimary' "where the geo-primary's protector must stay"
deregister_refused A1 A 'AzureKeyVaultKeyInUse' "whose protector it is"
keys_are B A1 B1

new_version B2 rotate "${KV[B]}" tde
[ "${KID[B1]}" != "${KID[B2]}" ] || fail "a rotation makes a new version" "${KID[B2]}"
protect_refused A B1 'OldGenerationOfAKVKeyBeingUsedError' "which has a newer version"
protector_is A A1
together "register B2 B" "register B2 A"
protect B B2
protect_refused B B1 'OldGenerationOfAKVKeyBeingUsedError' "from where there is no way back"
protector_is B B2

switch_idle() { # enable|disable
  local enabled=true
  [ "$1" = enable ] || enabled=false
  key_args "$1" "${KV[B]}" idle
  check "key IDLE: $1 in its vault" attributes.enabled "$enabled" "${ARGS[@]}"
}
new_version IDLE create "${KV[B]}" idle
switch_idle disable
register_refused IDLE B 'AzureKeyVaultKeyDisabled' "while it is disabled"
switch_idle enable
together "register IDLE B" "register IDLE A"
switch_idle disable
protect_refused B IDLE 'AzureKeyVaultKeyDisabled' "while it is disabled"
protector_is B B2
switch_idle enable
protect B IDLE
protect B B2

on B
refused "encryption switched off at the geo-secondary" 'CanNotDropAlterOnMirror' sql db tde set "${ARGS[@]}" -d "$DB" --status Disabled
encrypted_on B
WEAK=kv-w-$RUN
check "a vault without purge protection" properties.enablePurgeProtection '' keyvault create -g "${RG[A]}" -n "$WEAK" -l "${LOC[A]}"
do_az "server A may use it" keyvault set-policy -g "${RG[A]}" -n "$WEAK" --object-id "${PRINCIPAL[A]}" --key-permissions get wrapKey unwrapKey
new_version WEAK create "$WEAK" tde
register_refused WEAK A 'SecurityInvalidAzureKeyVaultRecoveryLevel' "out of a vault that may be purged"
keys_are A A1 B1 B2 IDLE SPARE
primary_is A

# ---- the same lab under Azure's own names -----------------------------------------------------------------------------
part "the public cloud's own names, by the proxy"
fresh_az public
take SUB_AGAIN "login" '[0].id' login --service-principal -u "$CLIENT_ID" -p "$CLIENT_SECRET" --tenant "$TENANT_ID"
GOT=$SUB_AGAIN
expect "  the same subscription" "$SUB"
check "  in the cloud that az knows by itself" '[name, endpoints.resourceManager]' \
  '["AzureCloud", "https://management.azure.com/"]' cloud show
together "protector_is A A1" "protector_is B B2" "keys_are B A1 B1 B2 IDLE"

# ---- phase 5 --------------------------------------------------------------------------------------------------------
lab_says() { "$CROSSKEYS" lab "$@" >"$OUT" 2>"$ERR" </dev/null || fail "crosskeys lab $*" "$(tail -5 "$ERR")"; } # ARGS
# monitored RULES WANTED: the lab's own monitor has seen these of the RULES broken, and no others: as rule|server, or by
# the rule alone where two servers have broken it together.
monitored() {
  lab_says monitor --json
  GOT=$(awk -F'"' -v rules=" $1 " '
    $2 == "rule" { rule = $4 }
    $2 == "server" && index(rules, " " rule " ") { print rule == "One" ? rule : rule "|" $4 }' "$OUT" | LC_ALL=C sort -u | paste -sd, -)
  expect "  the lab's monitor tells of: ${2:-nothing}" "$2"
}

if [ -n "$CROSSKEYS" ]; then
  part "phase 5: a script in a hurry shows in the lab's monitor"
  monitored "One Open Next Past" ""
  lab_says fault add 'operation UpsertLogicalServerEncryptionprotector: slow 5s'
  together "protect A B2" "protect B IDLE"
  lab_says fault clear
  monitored "One" "One"
  do_az "server A may no longer use the vault of its own protector" \
    keyvault delete-policy -g "${RG[B]}" -n "${KV[B]}" --object-id "${PRINCIPAL[A]}"
  monitored "Open" "Open|${SQL[A]}"
  do_az "and may again" keyvault set-policy -g "${RG[B]}" -n "${KV[B]}" --object-id "${PRINCIPAL[A]}" --key-permissions get wrapKey unwrapKey
fi

part "the end"
on A
do_az "the failover group is deleted on its primary" sql failover-group delete "${ARGS[@]}" -n "$FOG"
for s in A B; do
  on "$s"
  check "  no group on server $s" '[].name' '[]' sql failover-group list "${ARGS[@]}"
  check "  its database stays there" '[status, name]' "[\"Online\", \"$DB\"]" sql db show "${ARGS[@]}" -n "$DB"
done
if [ "$CLEANUP" = 1 ]; then
  for s in A B; do do_az "group $s is deleted" group delete -n "${RG[$s]}" --yes; done
fi
