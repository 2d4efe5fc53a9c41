package ignition

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
)

// userData is how much of a config a cloud takes, in bytes; encoded is where it
// counts them in base64.
type userData struct {
	cloud   string
	limit   int
	encoded bool
}

// limits of user data, as the clouds' own documentation has them:
// docs.aws.amazon.com, AWSEC2 UserGuide, instancedata-add-user-data: 16 KB raw.
// learn.microsoft.com, VirtualMachineOSProfile.CustomData: 65535 bytes decoded.
// docs.openstack.org, nova, user-data: 65535 bytes, base64.
func limits() []userData {
	return []userData{{"aws", 16 << 10, false}, {"azure", 65535, false}, {"openstack", 65535, true}}
}

// Clouds are the names that Fits knows.
func Clouds() []string {
	var names []string
	for _, l := range limits() {
		names = append(names, l.cloud)
	}
	return names
}

// Fits is an error where the cloud does not take a config of that size as user data.
func Fits(cloud string, config []byte) error {
	i := slices.IndexFunc(limits(), func(l userData) bool { return l.cloud == cloud })
	if i < 0 {
		return fmt.Errorf("cloud %s: expected one of %s", cloud, strings.Join(Clouds(), ", "))
	}
	l, size, form := limits()[i], len(config), ""
	if l.encoded {
		size, form = base64.StdEncoding.EncodedLen(len(config)), " in base64"
	}
	if size > l.limit {
		return fmt.Errorf("%s takes %d bytes of user data%s, this config has %d: let the node claim its secrets instead, with --claim", cloud, l.limit, form, size)
	}
	return nil
}
