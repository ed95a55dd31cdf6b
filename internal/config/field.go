package config

// The settings that can be wrong.
var (
	fieldName      = Field{Flag: "tenant.name", Path: "name"}
	fieldTenantID  = Field{"tenant.id", "AZURE_TENANT_ID", "tenant_id"}
	fieldAPI       = Field{Flag: "api", Path: "api"}
	fieldCloud     = Field{Flag: "cloud", Path: "cloud"}
	fieldAPIURL    = Field{Flag: "api.url", Path: "api_url"}
	fieldAuthURL   = Field{Flag: "auth.url", Path: "auth.url"}
	fieldAuthScope = Field{Flag: "auth.scope", Path: "auth.scope"}

	fieldClientID       = Field{"client.id", "AZURE_CLIENT_ID", "auth.client_id"}
	fieldSecretFile     = Field{"client.secret-file", "AZURE_CLIENT_SECRET", "auth.client_secret_file"}
	fieldSecretExpires  = Field{Flag: "client.secret-expires", Path: "auth.client_secret_expires"}
	fieldCertificate    = Field{"client.certificate-file", "AZURE_CLIENT_CERTIFICATE_PATH", "auth.client_certificate_file"}
	fieldPasswordFile   = Field{Flag: "client.certificate-password-file", Path: "auth.client_certificate_password_file"}
	fieldFederatedToken = Field{"client.federated-token-file", "AZURE_FEDERATED_TOKEN_FILE", "auth.federated_token_file"}
	fieldIdentity       = Field{Flag: "client.managed-identity", Path: "auth.managed_identity"}

	fieldPerMinute = Field{Flag: "api.quota-per-minute", Path: "quota.per_minute"}
	fieldPerHour   = Field{Flag: "api.quota-per-hour", Path: "quota.per_hour"}
	fieldShare     = Field{Flag: "api.quota-share", Path: "quota.share"}

	fieldInterval      = Field{Flag: "refresh.interval", Path: "refresh.interval"}
	fieldSweepInterval = Field{Flag: "refresh.sweep-interval", Path: "refresh.sweep_interval"}
	fieldOverlap       = Field{Flag: "refresh.overlap", Path: "refresh.overlap"}
	fieldLookback      = Field{Flag: "incidents.lookback", Path: "incidents.lookback"}
	fieldThresholds    = Field{Flag: "incidents.age-threshold", Path: "incidents.age_thresholds"}
	fieldObjectives    = Field{Flag: "incidents.objective", Path: "incidents.objectives"}
	fieldTags          = Field{Flag: "incidents.tags", Path: "incidents.tags"}
	fieldDeviceGroups  = Field{Flag: "incidents.device-groups", Path: "incidents.device_groups"}
	fieldDetectors     = Field{Flag: "incidents.detectors", Path: "incidents.detectors"}
	fieldAssignees     = Field{Flag: "incidents.assignees", Path: "incidents.assignees"}
	fieldAssigneesKey  = Field{Flag: "incidents.assignees-key-file", Path: "incidents.assignees_key_file"}
	fieldMaxAge        = Field{Flag: "cache.max-age", Path: "cache.max_age"}

	fieldTimeout     = Field{Flag: "api.timeout", Path: "http.timeout"}
	fieldMaxResponse = Field{Flag: "api.max-response-bytes", Path: "http.max_response_bytes"}
	fieldProxy       = Field{Path: "http.proxy_url"}
	fieldTLS         = Field{Path: "http.tls_config"}
)
