// What the exporter signs in with: a user assigned managed identity with its one
// permission and admin consent, and nothing that is secret. Machines and container
// apps use it as it is; a cluster with workload identity by a federated credential.
//
//   az deployment group create --resource-group RG --template-file main.bicep
//
// Whoever deploys it needs AppRoleAssignment.ReadWrite.All and Application.Read.All
// (or is Privileged Role Administrator). It can be deployed again.
extension microsoftGraphV1

@description('Name of the managed identity.')
param name string = 'm365-defender-exporter'

@description('Where it is.')
param location string = resourceGroup().location

@description('API to read.')
@allowed(['defender', 'graph'])
param api string = 'defender'

@description('OIDC issuer of a cluster with workload identity; empty: none.')
param issuer string = ''

@description('Namespace of the exporter there.')
param namespace string = 'monitoring'

@description('Service account of the exporter there.')
param serviceAccount string = 'm365-defender-exporter'

var apis = {
  defender: { appId: '8ee8fdad-f234-4243-8f3b-15c294843740', permission: 'Incident.Read.All' }
  graph: { appId: '00000003-0000-0000-c000-000000000000', permission: 'SecurityIncident.Read.All' }
}
var wanted = apis[api]

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: name
  location: location
}

resource kubernetes 'Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials@2023-01-31' = if (!empty(issuer)) {
  parent: identity
  name: '${namespace}-${serviceAccount}'
  properties: {
    issuer: issuer
    subject: 'system:serviceaccount:${namespace}:${serviceAccount}'
    audiences: ['api://AzureADTokenExchange']
  }
}

resource resourceApp 'Microsoft.Graph/servicePrincipals@v1.0' existing = {
  appId: wanted.appId
}

// For an application permission, this assignment is the admin consent. The role's
// id differs between clouds: it is looked up by its value.
resource read 'Microsoft.Graph/appRoleAssignedTo@v1.0' = {
  principalId: identity.properties.principalId
  resourceId: resourceApp.id
  appRoleId: filter(resourceApp.appRoles, role => role.value == wanted.permission && contains(role.allowedMemberTypes, 'Application'))[0].id
}

@description('--tenant.id')
output tenantId string = identity.properties.tenantId

@description('--client.id')
output clientId string = identity.properties.clientId

@description('For the machine or the container app that has the identity.')
output identityId string = identity.id
