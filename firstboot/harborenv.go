package firstboot

import (
	"strconv"

	"imgbuild/cluster/node"
)

// The environment of Harbor's parts, as its own prepare writes it.

// harborCoreEnv: make/photon/prepare/templates/core/env.jinja.
func harborCoreEnv(n node.Node, s harborSecret, h harborServices) map[string]string {
	return map[string]string{
		"CONFIG_PATH":                              "/etc/core/app.conf",
		"_REDIS_URL_CORE":                          h.redisURL(0),
		"_REDIS_URL_REG":                           h.redisURL(1),
		"LOG_LEVEL":                                "info",
		"EXT_ENDPOINT":                             harborURL(*n.Registry),
		"DATABASE_TYPE":                            "postgresql",
		"POSTGRESQL_HOST":                          h.database.Host,
		"POSTGRESQL_PORT":                          strconv.Itoa(h.database.Port),
		"POSTGRESQL_USERNAME":                      h.database.User,
		"POSTGRESQL_PASSWORD":                      h.databasePassword,
		"POSTGRESQL_DATABASE":                      h.database.Name,
		"POSTGRESQL_SSLMODE":                       h.database.SSLMode,
		"POSTGRESQL_MAX_IDLE_CONNS":                strconv.Itoa(h.idle),
		"POSTGRESQL_MAX_OPEN_CONNS":                strconv.Itoa(h.open),
		"POSTGRESQL_CONN_MAX_LIFETIME":             "5m",
		"POSTGRESQL_CONN_MAX_IDLE_TIME":            "0",
		"REGISTRY_URL":                             local("registry", harborRegistryPort),
		"PORTAL_URL":                               local("portal", harborPortalPort),
		"TOKEN_SERVICE_URL":                        local("core", harborCorePort) + "/service/token",
		"HARBOR_ADMIN_PASSWORD":                    s.admin,
		"MAX_JOB_WORKERS":                          "10",
		"CORE_SECRET":                              s.make("core-secret", 16),
		"JOBSERVICE_SECRET":                        s.make("jobservice-secret", 16),
		"WITH_TRIVY":                               "False",
		"CORE_URL":                                 local("core", harborCorePort),
		"CORE_LOCAL_URL":                           local("127.0.0.1", harborCorePort),
		"JOBSERVICE_URL":                           local("jobservice", harborJobservicePort),
		"REGISTRY_STORAGE_PROVIDER_NAME":           h.storageName(),
		"READ_ONLY":                                "false",
		"RELOAD_KEY":                               "",
		"REGISTRY_CONTROLLER_URL":                  local("registryctl", harborRegistryctlPort),
		"REGISTRY_CREDENTIAL_USERNAME":             harborRegistryUser,
		"REGISTRY_CREDENTIAL_PASSWORD":             s.make("registry-password", 32),
		"CSRF_KEY":                                 s.make("csrf-key", 32),
		"ROBOT_SCANNER_NAME_PREFIX":                s.make("robot-prefix", 8),
		"PERMITTED_REGISTRY_TYPES_FOR_PROXY_CACHE": "docker-hub,harbor,azure-acr,ali-acr,aws-ecr,google-gcr,docker-registry,github-ghcr,jfrog-artifactory",
		"REPLICATION_ADAPTER_WHITELIST":            "ali-acr,aws-ecr,azure-acr,docker-hub,docker-registry,github-ghcr,google-gcr,harbor,huawei-SWR,jfrog-artifactory,tencent-tcr,volcengine-cr",
		"PORT":                                     strconv.Itoa(harborCorePort),
		"QUOTA_UPDATE_PROVIDER":                    "db",
	}
}

// harborJobEnv: make/photon/prepare/templates/jobservice/env.jinja.
func harborJobEnv(s harborSecret) map[string]string {
	return map[string]string{
		"CORE_SECRET":                      s.make("core-secret", 16),
		"REGISTRY_URL":                     local("registry", harborRegistryPort),
		"JOBSERVICE_SECRET":                s.make("jobservice-secret", 16),
		"CORE_URL":                         local("core", harborCorePort),
		"REGISTRY_CONTROLLER_URL":          local("registryctl", harborRegistryctlPort),
		"JOBSERVICE_WEBHOOK_JOB_MAX_RETRY": "3",
		"JOBSERVICE_WEBHOOK_JOB_HTTP_CLIENT_TIMEOUT": "3",
		"LOG_LEVEL":                    "info",
		"REGISTRY_CREDENTIAL_USERNAME": harborRegistryUser,
		"REGISTRY_CREDENTIAL_PASSWORD": s.make("registry-password", 32),
	}
}

func local(name string, port int) string { return "http://" + name + ":" + strconv.Itoa(port) }
