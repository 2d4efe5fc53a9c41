package firstboot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"imgbuild/cluster/node"
)

// Harbor's database, Redis and storage are beside its other parts, in its pod, or
// services elsewhere. Its parts are told of both in the same way.

// harborServices are what Harbor keeps its data in.
type harborServices struct {
	database         node.Database
	databasePassword string
	redis            node.Redis
	redisPassword    string
	// s3 is nil where images are on this node.
	s3       *node.S3
	s3Secret string
	// idle and open limit the connections to the database; 0 is no limit.
	idle, open int
	// own are the parts of the pod that are no services elsewhere.
	ownDatabase, ownRedis bool
}

func (m *machine) harborServices(s harborSecret) (harborServices, error) {
	r := m.node.Registry
	services := harborServices{
		ownDatabase: r.Database == nil, ownRedis: r.Redis == nil, s3: r.S3,
		database:         node.Database{Host: "postgresql", Port: 5432, Name: "registry", User: "postgres", SSLMode: "disable"},
		databasePassword: s.make("database-password", 32),
		idle:             100,
		open:             900,
		redis:            node.Redis{Host: "redis", Port: 6379},
	}
	var err error
	if r.Database != nil {
		services.database, services.idle, services.open = *r.Database, 2, 0
		if services.databasePassword, err = m.givenSecret(node.DatabasePasswordPath); err != nil {
			return services, err
		}
	}
	if r.Redis != nil {
		services.redis = *r.Redis
		if services.redisPassword, err = m.givenSecret(node.RedisPasswordPath); err != nil {
			return services, err
		}
	}
	if r.S3 != nil && r.S3.AccessKey != "" {
		services.s3Secret, err = m.givenSecret(node.S3KeyPath)
	}
	return services, err
}

// givenSecret is a line that somebody has chosen.
func (m *machine) givenSecret(path string) (string, error) {
	data, err := m.host.read(path)
	return strings.TrimSuffix(string(data), "\n"), err
}

// redisURL is how Harbor's own programs are told of a Redis: get_redis_url of
// make/photon/prepare/utils/configs.py.
func (h harborServices) redisURL(db int) string {
	u := url.URL{Scheme: "redis", Host: hostPort(h.redis.Host, h.redis.Port), RawQuery: "idle_timeout_seconds=30"}
	if h.redis.TLS {
		u.Scheme = "rediss"
	}
	if h.redisPassword != "" {
		u.User = url.UserPassword(h.redis.User, h.redisPassword)
	}
	if db > 0 {
		u.Path = "/" + strconv.Itoa(db)
	}
	return u.String()
}

// storage is the registry's storage driver, and what else it wants to know.
func (h harborServices) storage() (driver, more string) {
	if h.s3 == nil {
		return "filesystem: {rootdirectory: /storage}", ""
	}
	// https://distribution.github.io/distribution/storage-drivers/s3/
	o := object{"bucket": h.s3.Bucket, "region": h.s3.Region}
	if h.s3.AccessKey != "" {
		o["accesskey"], o["secretkey"] = h.s3.AccessKey, h.s3Secret
	}
	if h.s3.Endpoint != "" {
		o["regionendpoint"], o["forcepathstyle"] = h.s3.Endpoint, true
		o["secure"] = strings.HasPrefix(h.s3.Endpoint, "https:")
	}
	if h.s3.Folder != "" {
		o["rootdirectory"] = "/" + h.s3.Folder
	}
	if !h.s3.Redirect {
		more = "\n  redirect: {disable: true}"
	}
	return "s3: " + inline(o), more
}

func (h harborServices) storageName() string {
	if h.s3 == nil {
		return "filesystem"
	}
	return "s3"
}

// jobLogger keeps the logs of Harbor's jobs: in a database that all instances
// have, each can show those of the others.
func (h harborServices) jobLogger() string {
	if h.ownDatabase {
		return harborJobFiles
	}
	return harborJobTable
}

// called are the names that the parts of the pod find each other by.
func (h harborServices) called() []string {
	names := []string{"core", "portal", "registry", "registryctl", "jobservice"}
	if h.ownDatabase {
		names = append(names, "postgresql")
	}
	if h.ownRedis {
		names = append(names, "redis")
	}
	return names
}

// reach says which of the services elsewhere cannot be reached, if any: that is
// why Harbor does not answer.
func (m *machine) reach(ctx context.Context) error {
	var missing []string
	try := func(what, address string) {
		ctx, cancel := context.WithTimeout(ctx, checkTimeout)
		defer cancel()
		conn, err := m.host.Dial(ctx, "tcp", address)
		if err != nil {
			missing = append(missing, fmt.Sprintf("its %s %s: %v", what, address, err))
			return
		}
		conn.Close()
	}
	r := m.node.Registry
	if r.Database != nil {
		try("database", hostPort(r.Database.Host, r.Database.Port))
	}
	if r.Redis != nil {
		try("Redis", hostPort(r.Redis.Host, r.Redis.Port))
	}
	// Without an endpoint it is Amazon's.
	if r.S3 != nil && r.S3.Endpoint != "" {
		if u, err := url.Parse(r.S3.Endpoint); err == nil && u.Host != "" {
			port := u.Port()
			if port == "" {
				port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
			}
			try("S3", u.Hostname()+":"+port)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return errors.New(strings.Join(missing, "; "))
}

// inline is a value in one line of YAML, whatever is in it: JSON is YAML.
func inline(v any) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return "null" // strings and numbers are always encoded
	}
	return strings.TrimSpace(b.String())
}
