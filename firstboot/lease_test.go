package firstboot

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// lease keeps leases with their versions.
func (c *fakeCluster) lease(w http.ResponseWriter, r *http.Request) {
	var body object
	json.NewDecoder(r.Body).Decode(&body)
	version := func(o object, key string) any {
		part, _ := o[key].(object)
		return part["resourceVersion"]
	}
	kept, exists := c.objects[leasePath]
	conflict := func(is bool) bool {
		if is {
			w.WriteHeader(http.StatusConflict)
		}
		return is
	}
	switch r.Method {
	case http.MethodPost:
		if conflict(exists) {
			return
		}
	case http.MethodPut:
		if conflict(!exists || version(body, "metadata") != version(kept, "metadata")) {
			return
		}
	case http.MethodDelete:
		if !conflict(version(body, "preconditions") != version(kept, "metadata")) {
			delete(c.objects, leasePath)
		}
		return
	default:
		c.answer(w, r.URL.Path)
		return
	}
	c.changes++
	body["metadata"].(object)["resourceVersion"] = fmt.Sprint(c.changes)
	c.put(leasePath, body)
}

// leaseOf is a lease that a master took an hour before the test's machines started.
func leaseOf(holder string) object {
	return object{
		"metadata": object{"name": leaseName, "resourceVersion": "9"},
		"spec":     object{"holderIdentity": holder, "acquireTime": "2026-11-23T09:00:00Z", "renewTime": "2026-11-23T09:00:00Z"},
	}
}

// leaseTest is a master that may join, and the client that it takes turns with.
func leaseTest(t *testing.T, name string) (*fake, *fakeCluster, *fakeEtcd, *machine, *api) {
	f, c := newHA(t, name, "stacked")
	e := joiner(f, c)
	m := f.machine()
	client, err := m.clusterClient(t.Context())
	require.NoError(t, err)
	return f, c, e, m, client
}

func holder(c *fakeCluster) any {
	l, ok := c.objects[leasePath]
	if !ok {
		return nil
	}
	return l["spec"].(object)["holderIdentity"]
}

func TestTheTurnIsTakenRenewedAndGivenBack(t *testing.T) {
	f, c, _, m, client := leaseTest(t, "master-2")
	require.NoError(t, m.takeLease(t.Context(), client))
	assert.Equal(t, "master-2", holder(c))
	first := c.objects[leasePath]["spec"].(object)

	f.advance(time.Minute)
	require.NoError(t, m.renewLease(t.Context(), client))
	renewed := c.objects[leasePath]["spec"].(object)
	assert.Equal(t, first["acquireTime"], renewed["acquireTime"])
	assert.NotEqual(t, first["renewTime"], renewed["renewTime"])

	require.NoError(t, m.takeLease(t.Context(), client), "its holder may go on, after a power cut too")
	require.NoError(t, m.dropLease(t.Context(), client))
	assert.Nil(t, holder(c))
	require.NoError(t, m.dropLease(t.Context(), client), "there is nothing left to give back")
}

func TestNobodyDropsOrRenewsAnothersTurn(t *testing.T) {
	_, c, _, m, client := leaseTest(t, "master-2")
	c.put(leasePath, leaseOf("master-3"))
	require.NoError(t, m.dropLease(t.Context(), client))
	assert.EqualError(t, m.renewLease(t.Context(), client), "master-3 has taken the turn to join")
	assert.Equal(t, "master-3", holder(c))
	held, err := m.holdsLease(t.Context(), client)
	require.NoError(t, err)
	assert.False(t, held)
}

func TestAnAbandonedTurnIsTakenLateAndLoudly(t *testing.T) {
	f, c, _, m, client := leaseTest(t, "master-2")
	c.put(leasePath, leaseOf("master-3"))
	const waiting = "waiting for master-3, which joins since 2026-11-23T09:00:00Z (if it is gone for good: kubectl -n kube-system delete lease imgbuild-join)"
	assert.EqualError(t, m.takeLease(t.Context(), client), waiting, "the lease looks an hour old, but by another's clock")
	f.advance(leaseLost - time.Second)
	assert.EqualError(t, m.takeLease(t.Context(), client), waiting)

	c.objects[leasePath]["metadata"].(object)["resourceVersion"] = "10" // it was renewed
	f.advance(time.Minute)
	assert.EqualError(t, m.takeLease(t.Context(), client), waiting)
	f.advance(leaseLost)
	require.NoError(t, m.takeLease(t.Context(), client))
	assert.Equal(t, "master-2", holder(c))
	assert.Contains(t, f.console.String(), "imgbuild: WARNING: taking the turn to join from master-3, which has not renewed it for 20m0s\n")
}

func TestATurnIsNotTakenWhileAMemberOfEtcdIsOnItsWayIn(t *testing.T) {
	f, c, e, m, client := leaseTest(t, "master-2")
	c.put(leasePath, leaseOf("master-3"))
	require.Error(t, m.takeLease(t.Context(), client))
	f.advance(2 * time.Hour)
	e.members = append(e.members, etcdMember{ID: "55", PeerURLs: []string{peerURL("10.77.0.14")}, Learner: true})
	err := m.takeLease(t.Context(), client)
	assert.ErrorContains(t, err, "etcd still has its member 55 (https://10.77.0.14:2380, never started)")
	e.members = e.members[:len(e.members)-1]
	delete(f.dial, "10.77.0.11:2379")
	delete(f.dial, "10.77.0.13:2379")
	assert.ErrorContains(t, m.takeLease(t.Context(), client), "connection refused", "who cannot ask takes nothing")
	assert.Equal(t, "master-3", holder(c))
}

func TestTwoMastersTakeTheTurnAtOnce(t *testing.T) {
	_, c, _, m, client := leaseTest(t, "master-2")
	stale := lease{}
	c.put(leasePath, leaseOf("master-3"))
	err := client.create(t.Context(), leases, m.ownLease(stale))
	assert.True(t, answered(err, 409), "%v", err)
}

func TestAFailedAttemptKeepsTheTurnOnlyWithAMemberOnItsWay(t *testing.T) {
	_, c, e, m, client := leaseTest(t, "master-2")
	require.NoError(t, m.takeLease(t.Context(), client))
	e.members = append(e.members, etcdMember{ID: "55", PeerURLs: []string{peerURL("10.77.0.12")}, Learner: true})
	m.yieldLease(t.Context(), client)
	assert.Equal(t, "master-2", holder(c))
	e.members = e.members[:len(e.members)-1]
	m.yieldLease(t.Context(), client)
	assert.Nil(t, holder(c))
}
