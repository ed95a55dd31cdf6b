#Requires -Version 5.1
#Requires -Modules Microsoft.Graph.Authentication, Microsoft.Graph.Applications
<#
.SYNOPSIS
Creates what the exporter signs in with: an app registration, its one permission
with admin consent, and a credential; or grants the permission to a managed
identity that exists.

.DESCRIPTION
It can be run again: what exists is kept, and what is missing is added. It needs
a Privileged Role Administrator. It returns the flags of the exporter.

.EXAMPLE
./setup.ps1 -SecretFile C:\ProgramData\m365_defender_exporter\client_secret

.EXAMPLE
./setup.ps1 -Api graph -CertificateFile .\exporter.cer

.EXAMPLE
./setup.ps1 -ManagedIdentity (Get-AzVM -Name vm -ResourceGroupName rg).Identity.PrincipalId
#>
[CmdletBinding(DefaultParameterSetName = 'Secret')]
param(
    [ValidateSet('defender', 'graph')]
    [string] $Api = 'defender',

    [string] $Name = 'm365-defender-exporter',

    # Where the secret is written. A file that exists is kept: to replace a secret
    # name another one.
    [Parameter(Mandatory, ParameterSetName = 'Secret')]
    [string] $SecretFile,

    [Parameter(ParameterSetName = 'Secret')]
    [ValidateRange(1, 730)]
    [int] $Days = 180,

    # A certificate without its key, DER or PEM.
    [Parameter(Mandatory, ParameterSetName = 'Certificate')]
    [string] $CertificateFile,

    # The OIDC issuer of a Kubernetes cluster.
    [Parameter(Mandatory, ParameterSetName = 'Federated')]
    [string] $Issuer,

    # namespace:service account.
    [Parameter(Mandatory, ParameterSetName = 'Federated')]
    [ValidatePattern('^[^:]+:[^:]+$')]
    [string] $ServiceAccount,

    # The object (principal) id of a managed identity.
    [Parameter(Mandatory, ParameterSetName = 'ManagedIdentity')]
    [string] $ManagedIdentity,

    # Global, USGov (GCC High) or USGovDoD.
    [string] $Environment = 'Global'
)

Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'

$apis = @{
    defender = @{ AppId = '8ee8fdad-f234-4243-8f3b-15c294843740'; Permission = 'Incident.Read.All' }
    graph    = @{ AppId = '00000003-0000-0000-c000-000000000000'; Permission = 'SecurityIncident.Read.All' }
}
$wanted = $apis[$Api]

Connect-MgGraph -Environment $Environment -NoWelcome -Scopes 'Application.ReadWrite.All', 'AppRoleAssignment.ReadWrite.All'
$tenantId = (Get-MgContext).TenantId

# Its id differs between clouds: it is looked up by its value.
$resource = Get-MgServicePrincipal -Filter "appId eq '$($wanted.AppId)'"
if (-not $resource) {
    throw "The API $($wanted.AppId) is not known in this tenant: Defender XDR has never been turned on."
}
$role = $resource.AppRoles | Where-Object { $_.Value -eq $wanted.Permission -and $_.AllowedMemberTypes -contains 'Application' }
if (-not $role) {
    throw "$($wanted.Permission) is no application permission of $($wanted.AppId) in this tenant."
}

if ($PSCmdlet.ParameterSetName -eq 'ManagedIdentity') {
    $principal = Get-MgServicePrincipal -ServicePrincipalId $ManagedIdentity
    $clientId = $principal.AppId
}
else {
    $applications = @(Get-MgApplication -Filter "displayName eq '$Name'")
    if ($applications.Count -gt 1) {
        throw "There is more than one app registration named $Name; choose another with -Name."
    }
    # So that the portal lists what is granted.
    $access = @(@{ ResourceAppId = $wanted.AppId; ResourceAccess = @(@{ Id = $role.Id; Type = 'Role' }) })
    if ($applications.Count -eq 1) {
        $application = $applications[0]
        if (-not ($application.RequiredResourceAccess.ResourceAccess | Where-Object { $_.Id -eq $role.Id })) {
            $others = @($application.RequiredResourceAccess | Where-Object { $_.ResourceAppId -ne $wanted.AppId })
            Update-MgApplication -ApplicationId $application.Id -RequiredResourceAccess ($others + $access)
        }
    }
    else {
        $application = New-MgApplication -DisplayName $Name -SignInAudience 'AzureADMyOrg' -RequiredResourceAccess $access
    }
    $clientId = $application.AppId
    $principal = Get-MgServicePrincipal -Filter "appId eq '$clientId'"
    if (-not $principal) {
        $principal = New-MgServicePrincipal -AppId $clientId
    }
}

# For an application permission, this assignment is the admin consent.
$assigned = Get-MgServicePrincipalAppRoleAssignment -ServicePrincipalId $principal.Id -All | Where-Object { $_.AppRoleId -eq $role.Id }
if (-not $assigned) {
    $null = New-MgServicePrincipalAppRoleAssignment -ServicePrincipalId $principal.Id -PrincipalId $principal.Id -ResourceId $resource.Id -AppRoleId $role.Id
}

$flags = "--api=$Api --tenant.id=$tenantId --client.id=$clientId"
switch ($PSCmdlet.ParameterSetName) {
    'Secret' {
        $flags += " --client.secret-file=$SecretFile"
        if (Test-Path -LiteralPath $SecretFile) {
            Write-Warning "$SecretFile exists and is kept."
        }
        else {
            $ends = (Get-Date).ToUniversalTime().Date.AddDays($Days)
            $credential = @{ DisplayName = "$Name $(Get-Date -Format yyyy-MM-dd)"; EndDateTime = $ends }
            $secret = Add-MgApplicationPassword -ApplicationId $application.Id -PasswordCredential $credential
            # Without a line end and without a byte order mark.
            $path = $ExecutionContext.SessionState.Path.GetUnresolvedProviderPathFromPSPath($SecretFile)
            [System.IO.File]::WriteAllText($path, $secret.SecretText)
            $expires = $ends.ToString('yyyy-MM-dd')
            Write-Warning "The secret expires on $expires."
            $flags += " --client.secret-expires=$expires"
        }
    }
    'Certificate' {
        $path = (Resolve-Path -LiteralPath $CertificateFile).ProviderPath
        $certificate = New-Object System.Security.Cryptography.X509Certificates.X509Certificate2 $path
        $keys = @($application.KeyCredentials)
        $known = $keys | Where-Object { $_.CustomKeyIdentifier -and [System.BitConverter]::ToString($_.CustomKeyIdentifier).Replace('-', '') -eq $certificate.Thumbprint }
        if (-not $known) {
            $key = @{ Type = 'AsymmetricX509Cert'; Usage = 'Verify'; Key = $certificate.RawData; DisplayName = $certificate.Subject }
            Update-MgApplication -ApplicationId $application.Id -KeyCredentials ($keys + $key)
        }
        Write-Warning "The certificate expires on $($certificate.NotAfter.ToUniversalTime().ToString('yyyy-MM-dd'))."
        $flags += ' --client.certificate-file=CERTIFICATE-AND-KEY.PEM'
    }
    'Federated' {
        $subject = "system:serviceaccount:$ServiceAccount"
        $known = Get-MgApplicationFederatedIdentityCredential -ApplicationId $application.Id | Where-Object { $_.Subject -eq $subject }
        if (-not $known) {
            $null = New-MgApplicationFederatedIdentityCredential -ApplicationId $application.Id -Name $ServiceAccount.Replace(':', '-') `
                -Issuer $Issuer -Subject $subject -Audiences @('api://AzureADTokenExchange')
        }
    }
    'ManagedIdentity' {
        $flags += ' --client.managed-identity'
    }
}
$flags
