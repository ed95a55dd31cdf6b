# What the exporter signs in with: an app registration or a managed identity, its
# one permission with admin consent, and a credential. The principal that applies
# it needs AppRoleAssignment.ReadWrite.All and Application.ReadWrite.All.

terraform {
  required_version = ">= 1.5"
  required_providers {
    azuread = {
      source  = "hashicorp/azuread"
      version = ">= 2.53, < 4"
    }
    azurerm = {
      source  = "hashicorp/azurerm"
      version = ">= 3.100, < 5"
    }
    time = {
      source  = "hashicorp/time"
      version = ">= 0.11, < 1"
    }
  }
}

variable "name" {
  type        = string
  default     = "m365-defender-exporter"
  description = "Name of the app registration or the managed identity."
}

variable "api" {
  type        = string
  default     = "defender"
  description = "API to read: defender or graph."
  validation {
    condition     = contains(["defender", "graph"], var.api)
    error_message = "It must be defender or graph."
  }
}

variable "credential" {
  type        = string
  default     = "federated"
  description = "federated (Kubernetes), certificate, secret or managed-identity."
  validation {
    condition     = contains(["federated", "certificate", "secret", "managed-identity"], var.credential)
    error_message = "It must be federated, certificate, secret or managed-identity."
  }
}

variable "issuer" {
  type        = string
  default     = ""
  description = "OIDC issuer of the cluster, for federated."
}

variable "namespace" {
  type        = string
  default     = "monitoring"
  description = "Namespace of the exporter, for federated."
}

variable "service_account" {
  type        = string
  default     = "m365-defender-exporter"
  description = "Service account of the exporter, for federated."
}

variable "certificate" {
  type        = string
  default     = ""
  description = "Certificate without its key, PEM, for certificate."
}

variable "secret_days" {
  type        = number
  default     = 180
  description = "How long a secret lasts; it is replaced by the first apply after that. It is in the state of Terraform: take another credential if you can."
}

variable "resource_group" {
  type        = string
  default     = ""
  description = "Resource group of the managed identity."
}

variable "location" {
  type        = string
  default     = ""
  description = "Location of the managed identity."
}

locals {
  apis = {
    defender = { app_id = "8ee8fdad-f234-4243-8f3b-15c294843740", permission = "Incident.Read.All" }
    graph    = { app_id = "00000003-0000-0000-c000-000000000000", permission = "SecurityIncident.Read.All" }
  }
  wanted       = local.apis[var.api]
  application  = var.credential == "managed-identity" ? 0 : 1
  client_id    = one(concat(azuread_application.exporter[*].client_id, azurerm_user_assigned_identity.exporter[*].client_id))
  principal_id = one(concat(azuread_service_principal.exporter[*].object_id, azurerm_user_assigned_identity.exporter[*].principal_id))
}

data "azuread_client_config" "current" {}

data "azuread_service_principal" "api" {
  client_id = local.wanted.app_id
}

resource "azuread_application" "exporter" {
  count            = local.application
  display_name     = var.name
  sign_in_audience = "AzureADMyOrg"
  required_resource_access {
    resource_app_id = local.wanted.app_id
    resource_access {
      id   = data.azuread_service_principal.api.app_role_ids[local.wanted.permission]
      type = "Role"
    }
  }
}

resource "azuread_service_principal" "exporter" {
  count     = local.application
  client_id = azuread_application.exporter[0].client_id
}

resource "azurerm_user_assigned_identity" "exporter" {
  count               = 1 - local.application
  name                = var.name
  resource_group_name = var.resource_group
  location            = var.location
}

# For an application permission, this assignment is the admin consent. The role's
# id differs between clouds: it is looked up by its value.
resource "azuread_app_role_assignment" "read" {
  app_role_id         = data.azuread_service_principal.api.app_role_ids[local.wanted.permission]
  principal_object_id = local.principal_id
  resource_object_id  = data.azuread_service_principal.api.object_id
}

resource "azuread_application_federated_identity_credential" "kubernetes" {
  count          = var.credential == "federated" ? 1 : 0
  application_id = azuread_application.exporter[0].id
  display_name   = "${var.namespace}-${var.service_account}"
  audiences      = ["api://AzureADTokenExchange"]
  issuer         = var.issuer
  subject        = "system:serviceaccount:${var.namespace}:${var.service_account}"
}

resource "azuread_application_certificate" "exporter" {
  count          = var.credential == "certificate" ? 1 : 0
  application_id = azuread_application.exporter[0].id
  type           = "AsymmetricX509Cert"
  value          = var.certificate
}

resource "time_rotating" "secret" {
  count         = var.credential == "secret" ? 1 : 0
  rotation_days = var.secret_days
}

resource "azuread_application_password" "exporter" {
  count               = var.credential == "secret" ? 1 : 0
  application_id      = azuread_application.exporter[0].id
  display_name        = var.name
  end_date            = time_rotating.secret[0].rotation_rfc3339
  rotate_when_changed = { rotation = time_rotating.secret[0].id }
}

output "tenant_id" {
  value       = data.azuread_client_config.current.tenant_id
  description = "--tenant.id"
}

output "client_id" {
  value       = local.client_id
  description = "--client.id"
}

output "client_secret" {
  value       = one(azuread_application_password.exporter[*].value)
  sensitive   = true
  description = "For the file of --client.secret-file: terraform output -raw client_secret"
}

output "secret_expires" {
  value       = one(time_rotating.secret[*].rotation_rfc3339)
  description = "--client.secret-expires"
}
