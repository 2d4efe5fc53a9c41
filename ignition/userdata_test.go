package ignition

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestFits(t *testing.T) {
	for cloud, largest := range map[string]int{"aws": 16384, "azure": 65535, "openstack": 49149} {
		assert.NoError(t, Fits(cloud, make([]byte, largest)), cloud)
		assert.ErrorContains(t, Fits(cloud, make([]byte, largest+1)), "with --claim", cloud)
	}
	assert.ErrorContains(t, Fits("moon", nil), "expected one of aws, azure, openstack")
}
