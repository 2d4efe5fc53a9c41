package firstboot

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"slices"
	"time"

	"imgbuild/cluster/node"
)

// listedMember is a member as its cluster knows it.
type listedMember struct {
	// ID is text in one of etcd's interfaces and a number in the other.
	ID         json.Number `json:"ID"`
	Name       string      `json:"name"`
	PeerURLs   []string    `json:"peerURLs"`
	ClientURLs []string    `json:"clientURLs"`
}

// etcdView is what the other members say of the cluster.
type etcdView struct {
	// from is the client address of who has answered, quorum whether a quorum
	// stands behind the answer. Without one it is what is on that member's disk.
	from    string
	quorum  bool
	members []listedMember
}

// etcdAction is what a member without data does to become one.
type etcdAction int

const (
	etcdBootstrap etcdAction = iota // start as one of the first members
	etcdJoin                        // start as a member that the cluster knows
	etcdAdd                         // be added, then start so
	etcdReplace                     // be removed, then be added
	etcdWait
)

// decide is for a member without data whose peer URL is own:
//
//	the others                          the cluster lists own           then
//	none answers                        -                               bootstrap
//	one or more answer                  named, without client URLs:     bootstrap
//	                                    a first member that never ran
//	one or more answer                  without a name: added, and      join
//	                                    never ran (power cut after add)
//	a quorum answers                    with client URLs: it has run,   replace
//	                                    its data is lost
//	a quorum answers                    not: removed, and not added     add
//	                                    again (power cut between)
//	some answer, but are no quorum      one of the last two             wait
//
// A member that never ran has lost nothing, and a cluster may need it for its
// quorum; so it starts in either case. All members of a static cluster are
// listed with their names from its first moment, one that is added gets its name
// by its own first start, and client URLs are published by running (etcd v3.6,
// server/etcdserver; tried with v3.6.8).
func (v etcdView) decide(own string) etcdAction {
	i := v.find(own)
	switch {
	case len(v.members) == 0:
		return etcdBootstrap
	case i >= 0 && len(v.members[i].ClientURLs) == 0 && v.members[i].Name != "":
		return etcdBootstrap
	case i >= 0 && len(v.members[i].ClientURLs) == 0:
		return etcdJoin
	case !v.quorum:
		return etcdWait
	case i >= 0:
		return etcdReplace
	}
	return etcdAdd
}

func (v etcdView) find(peerURL string) int {
	return slices.IndexFunc(v.members, func(m listedMember) bool { return slices.Contains(m.PeerURLs, peerURL) })
}

// askMembers asks the other members, one after another, until a quorum speaks.
// Of those that speak for themselves only, one that makes this member wait counts
// most: another may have lost its data too.
func (m *machine) askMembers(ctx context.Context, own string) (etcdView, error) {
	var view etcdView
	var trouble error
	for _, other := range m.otherMembers() {
		conn, err := m.dialMember(ctx, other)
		if err != nil {
			continue
		}
		conn.Close()
		members, err := m.listMembers(ctx, other.Address)
		if err == nil {
			return etcdView{from: other.Address, quorum: true, members: members}, nil
		}
		if members, err = m.knownMembers(ctx, other.Address); err == nil {
			known := etcdView{from: other.Address, members: members}
			if len(view.members) == 0 || known.decide(own) == etcdWait {
				view = known
			}
			continue
		}
		trouble = fmt.Errorf("member %s: %w", other.Name, err)
	}
	// One that is there and cannot be understood may know of a cluster.
	if len(view.members) == 0 && trouble != nil {
		return view, trouble
	}
	return view, ctx.Err()
}

// listMembers is the list that a quorum agrees on.
func (m *machine) listMembers(ctx context.Context, address string) ([]listedMember, error) {
	return m.changeMembers(ctx, address, "list", object{"linearizable": true})
}

// changeMembers calls etcd's Cluster service through its JSON gateway; every
// answer has the members after the call. Format: etcd v3.6, rpc.swagger.json.
func (m *machine) changeMembers(ctx context.Context, address, call string, body object) ([]listedMember, error) {
	client, err := m.etcdClient("server", address, etcdClientPort)
	if err != nil {
		return nil, err
	}
	defer client.http.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, etcdLimit)
	defer cancel()
	var answer struct {
		Members []listedMember `json:"members"`
	}
	if err := client.ask(ctx, "/v3/cluster/member/"+call, body, &answer); err != nil {
		return nil, err
	}
	if len(answer.Members) == 0 {
		return nil, fmt.Errorf("etcd at %s lists no members", address)
	}
	return answer.Members, nil
}

// knownMembers is what a member tells its peers from its own disk, also while it
// has no quorum: etcd itself asks so at a start.
func (m *machine) knownMembers(ctx context.Context, address string) ([]listedMember, error) {
	client, err := m.etcdClient("peer", address, etcdPeerPort)
	if err != nil {
		return nil, err
	}
	defer client.http.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, etcdLimit)
	defer cancel()
	var members []listedMember
	err = client.get(ctx, "/members", &members)
	return members, err
}

// removeMember is not an error where the member is gone already.
func (m *machine) removeMember(ctx context.Context, view etcdView, own string) error {
	id := view.members[view.find(own)].ID
	_, err := m.changeMembers(ctx, view.from, "remove", object{"ID": id.String()})
	if err != nil && !notFound(err) {
		return fmt.Errorf("remove this member, whose data is lost: %w", err)
	}
	return nil
}

func (m *machine) addMember(ctx context.Context, view etcdView, own string) ([]listedMember, error) {
	members, err := m.changeMembers(ctx, view.from, "add", object{"peerURLs": []string{own}})
	if err != nil {
		return nil, fmt.Errorf("add this member: %w", err)
	}
	return members, nil
}

// existing is the start of a member that its cluster knows. etcd compares the
// URLs with those of the cluster and wants a name for each, whichever.
func (m *machine) existing(members []listedMember) etcdStart {
	start := etcdStart{existing: true}
	for _, member := range members {
		for _, text := range member.PeerURLs {
			u, err := url.Parse(text)
			if err != nil {
				continue
			}
			p := node.Peer{Name: member.Name, Address: u.Hostname()}
			if i := slices.IndexFunc(m.node.Etcd, func(known node.Peer) bool { return known.Address == p.Address }); i >= 0 {
				p.Name = m.node.Etcd[i].Name
			}
			if p.Name == "" {
				p.Name = member.ID.String()
			}
			start.members = append(start.members, p)
		}
	}
	return start
}

// etcdClient speaks to a member with one of this node's certificates.
func (m *machine) etcdClient(pair, address string, port int) (*api, error) {
	ca, err := m.host.readCertificate(node.EtcdPKI + "/ca.crt")
	if err != nil {
		return nil, err
	}
	certificate, err := m.host.read(node.EtcdPKI + "/" + pair + ".crt")
	if err != nil {
		return nil, fmt.Errorf("etcd's certificate: %w", err)
	}
	key, err := m.host.read(node.EtcdPKI + "/" + pair + ".key")
	if err != nil {
		return nil, fmt.Errorf("etcd's key: %w", err)
	}
	who := credentials{ca: poolOf(ca)}
	if who.client, err = checkPair(certificate, key, ca); err != nil {
		return nil, Stop{fmt.Sprintf("%s/%s.crt %v: render the config of %s again and install it again", node.EtcdPKI, pair, err, m.node.Name)}
	}
	return newAPI(etcdURL(address, port), who, m.host.Dial), nil
}

// dialMember connects to a member's peer port.
func (m *machine) dialMember(ctx context.Context, member node.Peer) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	return m.host.Dial(ctx, "tcp", hostPort(member.Address, etcdPeerPort))
}
