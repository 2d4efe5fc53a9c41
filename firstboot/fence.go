package firstboot

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"sync"
)

// course is what the first master has to do.
type course string

const (
	toInit course = "init"
	toJoin course = "join"
	toWait course = "wait"
)

// sight is what the first master can see of its cluster before it makes one.
type sight struct {
	// stacked says that masters run etcd themselves.
	stacked bool
	// unfinished: super-admin.conf is here, so a kubeadm init of this node has
	// begun and has not ended.
	unfinished bool
	// serving is where the API of this cluster answers, other than on this node.
	serving string

	// With stacked etcd: whether this node's own etcd has a log, whether its
	// manifest is that of a member that joined, and which other master's etcd
	// answers.
	data, joined bool
	member       string
	// unclear is where an API or an etcd may answer, but took too long to say.
	unclear string

	// With etcd on other machines: whether it holds any object of Kubernetes,
	// and which other masters are among them.
	objects bool
	masters []string
	// blind is why etcd could not be asked.
	blind error
}

// decide keeps a first master that was installed anew from making a second
// cluster, and one whose power was cut during init from waiting for a cluster
// that only it can make. The rows are tried from above.
//
//	stacked etcd, or a single master
//
//	own etcd  own init    API else-  etcd     what can be the case               do
//	has log   unfinished  where      joined
//	yes       yes         any        any      init was cut; joiners may be here  init
//	yes       no          yes        any      joined, or init was finished       join
//	yes       no          no         yes      its join was cut, the others down  join
//	yes       no          no         no       its etcd is the cluster            init
//	no        any         yes        -        installed anew                     join
//	no        any         no         -        another etcd answers: its API is
//	                                          down or still starting             wait
//	no        any         unclear    -        somebody listens, too busy to say
//	                                          who it is                          wait
//	no        any         no         -        nobody answers: first boot         init
//
//	etcd on other machines
//
//	own init    objects   API else-  other    what can be the case               do
//	unfinished  in etcd   where      masters
//	yes         any       any        any      init was cut                       init
//	no          unknown   any        -        nothing can be known               wait
//	no          no        any        -        first boot                         init
//	no          yes       yes        any      installed anew                     join
//	no          yes       no         some     installed anew, the others down    wait
//	no          yes       no         none     this was the only master           init
//
// Where init goes on over an etcd that has data it can make no second cluster:
// the data stays, and everything that kubeadm init writes it can write again.
// One case cannot be told from a first boot: stacked etcd, the first master
// installed anew, and every other master off. docs/ says: start those first.
func decide(s sight) (course, string) {
	if !s.stacked {
		return decideExternal(s)
	}
	switch {
	case s.data && s.unfinished:
		return toInit, "its own init was interrupted"
	case s.data && s.serving != "":
		return toJoin, "the API at " + s.serving + " serves this cluster"
	case s.data && s.joined:
		return toJoin, "its join was interrupted"
	case s.data:
		return toInit, "its own etcd has the cluster"
	case s.serving != "":
		return toJoin, "the API at " + s.serving + " already serves this cluster, and this node has no member of its etcd"
	case s.member != "":
		return toWait, fmt.Sprintf("waiting for an API to join: etcd at %s has this cluster already, and this node has no member of it", s.member)
	case s.unclear != "":
		return toWait, fmt.Sprintf("waiting for %s to say whether it serves this cluster: %v", s.unclear, errUnclear)
	}
	return toInit, "nobody serves this cluster yet"
}

func decideExternal(s sight) (course, string) {
	switch {
	case s.unfinished:
		return toInit, "its own init was interrupted"
	case s.blind != nil:
		return toWait, fmt.Sprintf("waiting for etcd to say whether it has this cluster: %v", s.blind)
	case !s.objects:
		return toInit, "etcd is empty"
	case s.serving != "":
		return toJoin, "the API at " + s.serving + " already serves this cluster"
	case len(s.masters) > 0:
		return toWait, fmt.Sprintf("waiting for an API to join: etcd has this cluster already, with %s, but none of their APIs answers", strings.Join(s.masters, ", "))
	}
	return toInit, "etcd has this cluster, and this is its only master"
}

// look finds out what decide needs. A cluster of one master has nobody to ask.
func (m *machine) look(ctx context.Context) sight {
	s := sight{stacked: m.stackedEtcd(), unfinished: m.host.exists(superAdmin)}
	if s.stacked {
		s.data, s.joined = m.host.etcdDisk() == etcdHasData, m.host.joinedEtcd()
	}
	if len(m.node.Masters) > 1 {
		m.lookAround(ctx, &s)
	}
	if !s.stacked && !s.unfinished {
		s.objects, s.masters, s.blind = m.lookIntoEtcd(ctx)
	}
	return s
}

// lookIntoEtcd asks whether etcd holds a cluster and which other masters are in it.
func (m *machine) lookIntoEtcd(ctx context.Context) (objects bool, masters []string, err error) {
	client, err := m.etcd()
	if err != nil {
		return false, nil, err
	}
	n, err := client.count(ctx, "/registry/")
	if err != nil || n == 0 {
		return false, nil, err
	}
	for _, p := range m.node.Masters {
		if p.Name == m.node.Name {
			continue
		}
		registered, err := client.has(ctx, "/registry/minions/"+p.Name)
		if err != nil {
			return false, nil, err
		}
		if registered {
			masters = append(masters, p.Name)
		}
	}
	return true, masters, nil
}

// lookAround asks the endpoint, the other masters and, where it matters, their
// etcd, all at once.
func (m *machine) lookAround(ctx context.Context, s *sight) {
	apis, etcds := []string{m.endpoint()}, []string{}
	for _, a := range m.otherMasters() {
		apis = append(apis, hostPort(a, apiPort))
		if s.stacked && !s.data {
			etcds = append(etcds, hostPort(a, etcdClientPort))
		}
	}
	var unclear [2]string
	var both sync.WaitGroup
	both.Go(func() { s.serving, unclear[0] = m.firstServing(ctx, apis, pki+"/ca.crt") })
	both.Go(func() { s.member, unclear[1] = m.firstServing(ctx, etcds, pki+"/etcd/ca.crt") })
	both.Wait()
	s.unclear = cmp.Or(unclear[0], unclear[1])
}

// sayCourse says once what the first master does instead of init.
func (m *machine) sayCourse(c course, why string) {
	if m.course != c {
		m.course = c
		m.console.say("joining instead of making a cluster: %s", why)
	}
}
