# So that this directory can be applied as it is. A configuration of your own that
# takes main.tf as a module has providers itself: leave this file out there.
#
# azurerm wants a subscription even where no managed identity is made, by
# ARM_SUBSCRIPTION_ID. Both sign in as the Azure CLI, unless ARM_… says otherwise.

provider "azurerm" {
  features {}
}

provider "azuread" {}
