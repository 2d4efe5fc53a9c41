package main

import (
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"imgbuild/builder"
	"imgbuild/cluster"
	"imgbuild/roles"
)

// All is what the cluster has nodes of, each role once; what cannot be built is
// said and not left out in silence.
func TestRolesOf(t *testing.T) {
	var log strings.Builder
	a := &app{log: slog.New(slog.NewTextHandler(&log, nil))}
	nodes := func(roles ...cluster.Role) *cluster.Cluster {
		c := &cluster.Cluster{}
		for _, r := range roles {
			c.Nodes = append(c.Nodes, cluster.Node{Role: r})
		}
		return c
	}
	names, err := a.rolesOf(nodes(cluster.RoleWorker, cluster.RoleMaster, cluster.RoleWorker), roles.Source{})
	require.NoError(t, err)
	assert.Equal(t, []string{"master", "worker"}, names)
	assert.Empty(t, log.String())

	names, err = a.rolesOf(nodes(cluster.RoleMaster, "unknown", "other", "unknown"), roles.Source{})
	require.NoError(t, err)
	assert.Equal(t, []string{"master"}, names)
	assert.Contains(t, log.String(), `roles="[other unknown]"`)

	_, err = a.rolesOf(nodes("unknown"), roles.Source{})
	assert.ErrorIs(t, err, errNoRoles)
}

// Nodes come in the order in which they are named: it is that of their start.
func TestSelectNodes(t *testing.T) {
	c := &cluster.Cluster{Nodes: []cluster.Node{{Name: "a"}, {Name: "b"}, {Name: "c"}}}
	for _, test := range []struct{ names, want []string }{
		{nil, []string{"a", "b", "c"}},
		{[]string{"c", "a"}, []string{"c", "a"}},
		{[]string{"b", "b", "a", "b"}, []string{"b", "a"}},
	} {
		nodes, err := selectNodes(c, test.names)
		require.NoError(t, err)
		var got []string
		for _, n := range nodes {
			got = append(got, n.Name)
		}
		assert.Equal(t, test.want, got)
	}
	_, err := selectNodes(c, []string{"a", "d"})
	assert.EqualError(t, err, `no node is named "d": the nodes are a, b, c`)
	assert.ErrorAs(t, err, new(usageError))
}

// TestBuildAll wants the next image begun when the last one is gathered, what is
// begun ended, and after a failure nothing new.
func TestBuildAll(t *testing.T) {
	plans := []builder.Plan{{Role: "etcd"}, {Role: "lb"}, {Role: "worker"}}
	var mu sync.Mutex
	var said []string
	say := func(text string) {
		mu.Lock()
		defer mu.Unlock()
		said = append(said, text)
	}
	secondBegan := make(chan struct{})
	err := buildAll(plans, func(p builder.Plan, gathered func()) error {
		say("make " + p.Role)
		switch p.Role {
		case "etcd":
			gathered()
			<-secondBegan
			say("ended etcd")
			return errors.New("etcd is not what was written")
		case "lb":
			close(secondBegan)
			return errors.New("no room for lb")
		}
		return nil
	})
	assert.EqualError(t, err, "etcd is not what was written\nno room for lb")
	assert.ElementsMatch(t, []string{"make etcd", "make lb", "ended etcd"}, said)

	said = nil
	require.NoError(t, buildAll(plans, func(p builder.Plan, gathered func()) error {
		say(p.Role) // one that is there already says never that it is gathered
		return nil
	}))
	assert.Equal(t, []string{"etcd", "lb", "worker"}, said)
}
