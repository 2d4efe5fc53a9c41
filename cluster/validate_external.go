package cluster

import (
	"regexp"
	"strings"
)

// external checks the services that Harbor uses.
func (v *checker) external(r Registry, harbors int) {
	e := r.External
	if e == (External{}) {
		return
	}
	given := 0
	if e.Database != (Database{}) {
		given++
		v.database(e.Database)
	}
	if e.Redis != (Redis{}) {
		given++
		v.redis(e.Redis)
	}
	if e.S3 != (S3{}) {
		given++
		v.s3(e.S3)
	}
	switch {
	case harbors == 0 || r.Kind != RegistryHarbor:
		v.errorf("registry.external", "has no effect: expected nodes of role harbor and registry.kind harbor as well")
	case given == 0:
		v.errorf("registry.external.ca", "has no effect: expected database, redis or s3 as well")
	case harbors > 1 && given < 3:
		v.errorf("registry.external", "expected all of database, redis and s3 with %d nodes of role harbor: they are one registry only if they share all three", harbors)
	}
	if e.CA != "" && !v.holdsPrivateKey("registry.external.ca", e.CA) {
		v.certificates("registry.external.ca", e.CA)
	}
}

// word is a name that needs no quotes in any of Harbor's files.
var word = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.@-]{0,62}$`)

func (v *checker) database(d Database) {
	v.serviceHost("registry.external.database.host", d.Host)
	v.serviceName("registry.external.database.name", d.Name)
	v.serviceName("registry.external.database.user", d.User)
	allowed(v, "registry.external.database.sslMode", d.SSLMode, SSLModes())
}

func (v *checker) redis(d Redis) {
	v.serviceHost("registry.external.redis.host", d.Host)
	if d.User != "" {
		v.serviceName("registry.external.redis.user", d.User)
	}
}

func (v *checker) serviceName(field, name string) {
	if !word.MatchString(name) {
		v.errorf(field, "expected letters, digits, _, . and -, got %q", short(name))
	}
}

func (v *checker) serviceHost(field, host string) {
	if !isHostPort(host) {
		v.errorf(field, "expected a DNS name or an address, with or without :PORT, got %q", short(host))
	}
}

// bucketName: https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

// folderName is a path without a slash at its ends.
var folderName = regexp.MustCompile(`^[A-Za-z0-9_-]+([./][A-Za-z0-9_-]+)*$`)

func (v *checker) s3(s S3) {
	if !bucketName.MatchString(s.Bucket) {
		v.errorf("registry.external.s3.bucket", "expected 3 to 63 of a-z, 0-9, - and ., got %q", short(s.Bucket))
	}
	if !word.MatchString(s.Region) {
		v.errorf("registry.external.s3.region", "expected a word such as eu-central-1, got %q", short(s.Region))
	}
	if s.Folder != "" && !folderName.MatchString(s.Folder) {
		v.errorf("registry.external.s3.folder", "expected a path such as images/harbor, without a slash at its ends, got %q", short(s.Folder))
	}
	if s.AccessKey != "" && !word.MatchString(s.AccessKey) {
		// The value is never repeated: it may be the secret half.
		v.errorf("registry.external.s3.accessKey", "expected the public half of the key, letters and digits; imgbuild secrets --set registry-s3 takes the other")
	}
	if s.Endpoint == "" {
		return
	}
	u := webURL(s.Endpoint)
	switch {
	case u == nil:
		v.errorf("registry.external.s3.endpoint", "expected http://… or https://…, got %q", short(s.Endpoint))
	case u.User != nil:
		v.errorf("registry.external.s3.endpoint", "holds a password: imgbuild secrets --set registry-s3 takes it")
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "":
		v.errorf("registry.external.s3.endpoint", "%s: expected a server without a path: bucket and folder are fields of their own", short(s.Endpoint))
	}
}
