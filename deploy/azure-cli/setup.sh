#!/usr/bin/env bash
# Creates what the exporter signs in with, by the Azure CLI: an app registration
# or a managed identity, its one permission with admin consent, and a credential.
# It can be run again: what exists is kept, and what is missing is added.
#
# Run it after `az login`, as Privileged Role Administrator (the consent) and
# Application Administrator or Owner of the resource group (the rest).
set -euo pipefail

usage() {
  cat >&2 <<'USAGE'
usage: setup.sh [--api defender|graph] [--name NAME] CREDENTIAL

  secret FILE [DAYS]                            a client secret, into FILE; 180 days
  certificate CERT.PEM                          a certificate that exists, without its key
  federated ISSUER NAMESPACE SERVICE-ACCOUNT    a workload identity of Kubernetes
  managed-identity RESOURCE-GROUP               a user assigned managed identity

For a secret that is to be replaced, name a FILE that does not exist.
USAGE
  exit 2
}

api=defender name=m365-defender-exporter
while [ $# -gt 0 ]; do
  case $1 in
    --api) api=${2:?} && shift 2 ;;
    --name) name=${2:?} && shift 2 ;;
    -*) usage ;;
    *) break ;;
  esac
done
case $api in
  defender) resource_app=8ee8fdad-f234-4243-8f3b-15c294843740 permission=Incident.Read.All ;;
  graph) resource_app=00000003-0000-0000-c000-000000000000 permission=SecurityIncident.Read.All ;;
  *) usage ;;
esac
credential=${1:-}
case $credential:$# in
  secret:2 | secret:3 | certificate:2 | federated:4 | managed-identity:2) ;;
  *) usage ;;
esac

graph=$(az cloud show --query endpoints.microsoftGraphResourceId -o tsv)
graph=${graph%/}/v1.0
tenant=$(az account show --query tenantId -o tsv)

# Its id differs between clouds: it is looked up by its value.
resource=$(az ad sp show --id "$resource_app" --query id -o tsv)
role=$(az ad sp show --id "$resource_app" \
  --query "appRoles[?value=='$permission' && contains(allowedMemberTypes, 'Application')].id | [0]" -o tsv)
[ -n "$role" ] || { echo "$permission is no application permission of $resource_app in this tenant" >&2; exit 1; }

if [ "$credential" = managed-identity ]; then
  az identity create --resource-group "$2" --name "$name" --only-show-errors -o none
  principal=$(az identity show --resource-group "$2" --name "$name" --query principalId -o tsv)
  client=$(az identity show --resource-group "$2" --name "$name" --query clientId -o tsv)
else
  client=$(az ad app list --filter "displayName eq '$name'" --query '[].appId' -o tsv)
  case $(printf '%s' "$client" | grep -c .) in
    0) client=$(az ad app create --display-name "$name" --sign-in-audience AzureADMyOrg --query appId -o tsv) ;;
    1) ;;
    *) echo "there is more than one app registration named $name; choose another with --name" >&2 && exit 1 ;;
  esac
  if ! principal=$(az ad sp show --id "$client" --query id -o tsv 2>/dev/null); then
    principal=$(az ad sp create --id "$client" --query id -o tsv)
  fi
  # So that the portal lists what is granted.
  if ! az ad app permission list --id "$client" --query '[].resourceAccess[].id' -o tsv | grep -qxF "$role"; then
    az ad app permission add --id "$client" --api "$resource_app" --api-permissions "$role=Role" --only-show-errors
  fi
fi

# For an application permission, this assignment is the admin consent. A principal
# that was just created may not be known everywhere yet.
assigned() {
  az rest --method GET --uri "$graph/servicePrincipals/$principal/appRoleAssignments" --query 'value[].appRoleId' -o tsv | grep -qxF "$role"
}
for attempt in 1 2 3 4 5 6; do
  if assigned 2>/dev/null; then break; fi
  if az rest --method POST --uri "$graph/servicePrincipals/$principal/appRoleAssignments" \
    --headers 'Content-Type=application/json' -o none \
    --body "{\"principalId\":\"$principal\",\"resourceId\":\"$resource\",\"appRoleId\":\"$role\"}"; then
    break
  fi
  [ "$attempt" -lt 6 ] || exit 1
  sleep "${SETUP_WAIT:-10}"
done

flags="--api=$api --tenant.id=$tenant --client.id=$client"
case $credential in
  secret)
    if [ -s "$2" ]; then
      echo "$2 exists and is kept" >&2
      flags="$flags --client.secret-file=$2"
    else
      expires=$(date -u -d "+${3:-180} days" +%F 2>/dev/null || date -u -v "+${3:-180}d" +%F)
      (
        umask 077
        az ad app credential reset --id "$client" --append --display-name "$name $(date -u +%F)" --end-date "$expires" \
          --only-show-errors --query password -o tsv >"$2"
      ) || { rm -f "$2"; exit 1; }
      echo "the secret expires on $expires" >&2
      flags="$flags --client.secret-file=$2 --client.secret-expires=$expires"
    fi
    ;;
  certificate)
    fingerprint=$(openssl x509 -in "$2" -noout -fingerprint -sha1 | cut -d= -f2 | tr -d :)
    # Graph says base64, and for some certificates the digits themselves.
    base64=$(openssl x509 -in "$2" -outform DER | openssl dgst -sha1 -binary | openssl base64)
    if ! az ad app credential list --id "$client" --cert --query '[].customKeyIdentifier' -o tsv | grep -qixF -e "$fingerprint" -e "$base64"; then
      az ad app credential reset --id "$client" --append --cert "@$2" --only-show-errors -o none
    fi
    echo "the certificate expires on $(openssl x509 -in "$2" -noout -enddate | cut -d= -f2)" >&2
    flags="$flags --client.certificate-file=CERTIFICATE-AND-KEY.PEM"
    ;;
  federated)
    subject=system:serviceaccount:$3:$4
    if ! az ad app federated-credential list --id "$client" --query '[].subject' -o tsv | grep -qxF "$subject"; then
      az ad app federated-credential create --id "$client" --only-show-errors -o none --parameters \
        "{\"name\":\"$3-$4\",\"issuer\":\"$2\",\"subject\":\"$subject\",\"audiences\":[\"api://AzureADTokenExchange\"]}"
    fi
    ;;
  managed-identity)
    flags="$flags --client.managed-identity"
    ;;
esac
echo "$flags"
