package firstboot

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

const (
	etcdClientPort = 2379
	etcdPeerPort   = 2380
)

// etcdAPI is a client of etcd's JSON gateway, one server or another of it:
// https://etcd.io/docs/v3.6/dev-guide/api_grpc_gateway/
//
// The gateway is a client of etcd itself, with etcd's own server certificate:
// etcd refuses it where that certificate is not good for clients too.
type etcdAPI struct{ servers []*api }

// etcdMember is a member as etcd lists it. One that has never been started has
// no name.
type etcdMember struct {
	ID       string   `json:"ID"`
	Name     string   `json:"name"`
	PeerURLs []string `json:"peerURLs"`
	Learner  bool     `json:"isLearner"`
}

// settled says whether a member has been started and votes.
func (e etcdMember) settled() bool { return e.Name != "" && !e.Learner }

func (e etcdMember) String() string {
	switch {
	case e.Name == "":
		return fmt.Sprintf("%s (%s, never started)", e.ID, strings.Join(e.PeerURLs, " "))
	case e.Learner:
		return e.Name + " (a learner)"
	}
	return e.Name
}

func peerURL(address string) string { return etcdURL(address, etcdPeerPort) }

// etcd is the cluster's etcd: this node's own member first, where it has one.
func (m *machine) etcd() (*etcdAPI, error) {
	ca, err := m.host.readCertificate(pki + "/etcd/ca.crt")
	if err != nil {
		return nil, err
	}
	var who credentials
	var addresses []string
	if m.stackedEtcd() {
		own, err := m.deriveEtcd()
		if err != nil {
			return nil, err
		}
		if who, err = own.credentials(ca); err != nil {
			return nil, err
		}
		addresses = append([]string{m.node.Address}, m.otherMasters()...)
	} else {
		certificate, err := m.host.read(etcdClient + ".crt")
		if err != nil {
			return nil, fmt.Errorf("%s.crt: %w", etcdClient, reason(err))
		}
		key, err := m.host.read(etcdClient + ".key")
		if err != nil {
			return nil, fmt.Errorf("%s.key: %w", etcdClient, reason(err))
		}
		if who.client, err = checkPair(certificate, key, ca); err != nil {
			return nil, fmt.Errorf("%s.crt %w", etcdClient, err)
		}
		who.ca = poolOf(ca)
		for _, e := range m.node.Etcd {
			addresses = append(addresses, e.Address)
		}
	}
	client := &etcdAPI{}
	for _, a := range addresses {
		server := newAPI(etcdURL(a, etcdClientPort), who, m.host.Dial)
		server.what = "etcd"
		client.servers = append(client.servers, server)
	}
	return client, nil
}

// ask puts a question to one server after the other until one answers it.
func (e *etcdAPI) ask(ctx context.Context, path string, question, answer any) error {
	var failed []string
	for _, server := range e.servers {
		err := server.ask(ctx, path, question, answer)
		if err == nil {
			return nil
		}
		failed = append(failed, err.Error())
	}
	return errors.New(strings.Join(failed, "; "))
}

// healthy says whether etcd has a quorum. A member says that it is healthy only
// where it knows a leader and can read through it.
func (e *etcdAPI) healthy(ctx context.Context) error {
	var failed []string
	for _, server := range e.servers {
		var answer struct {
			Health string `json:"health"`
			Reason string `json:"reason"`
		}
		err := server.get(ctx, "/health", &answer)
		if err == nil && answer.Health == "true" {
			return nil
		}
		if err == nil {
			err = fmt.Errorf("%s is not healthy: %s", server.server, orNone(answer.Reason))
		}
		failed = append(failed, err.Error())
	}
	return errors.New(strings.Join(failed, "; "))
}

// members are those of the whole cluster, as its leader knows them.
func (e *etcdAPI) members(ctx context.Context) ([]etcdMember, error) {
	var answer struct {
		Members []etcdMember `json:"members"`
	}
	err := e.ask(ctx, "/v3/cluster/member/list", object{"linearizable": true}, &answer)
	return answer.Members, err
}

func (e *etcdAPI) remove(ctx context.Context, member etcdMember) error {
	return e.ask(ctx, "/v3/cluster/member/remove", object{"ID": member.ID}, nil)
}

// count says how many keys begin with a prefix that ends in '/'.
func (e *etcdAPI) count(ctx context.Context, prefix string) (int, error) {
	end := strings.TrimSuffix(prefix, "/") + "0" // the letter after '/'
	return e.countRange(ctx, object{"key": b64(prefix), "range_end": b64(end), "count_only": true})
}

// has says whether a key exists.
func (e *etcdAPI) has(ctx context.Context, key string) (bool, error) {
	n, err := e.countRange(ctx, object{"key": b64(key), "count_only": true})
	return n > 0, err
}

func (e *etcdAPI) countRange(ctx context.Context, question object) (int, error) {
	var answer struct {
		Count string `json:"count"` // left out where it is 0
	}
	if err := e.ask(ctx, "/v3/kv/range", question, &answer); err != nil || answer.Count == "" {
		return 0, err
	}
	n, err := strconv.Atoi(answer.Count)
	if err != nil {
		return 0, errors.New("etcd's count is not a number")
	}
	return n, nil
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// findMember finds a node among etcd's members: by where it is reached, since
// one that has never been started has no name, or by its name.
func findMember(members []etcdMember, name, address string) (etcdMember, bool) {
	for _, member := range members {
		for _, u := range member.PeerURLs {
			if u == peerURL(address) {
				return member, true
			}
		}
	}
	for _, member := range members {
		if member.Name == name {
			return member, true
		}
	}
	return etcdMember{}, false
}

// unsettled are the members that are on their way in.
func unsettled(members []etcdMember) []string {
	var found []string
	for _, member := range members {
		if !member.settled() {
			found = append(found, member.String())
		}
	}
	return found
}

// checkEtcd is the gate of masters whose etcd is on other machines.
func (m *machine) checkEtcd(ctx context.Context) error {
	client, err := m.etcd()
	if err != nil {
		return err
	}
	if err := client.healthy(ctx); err != nil {
		return fmt.Errorf("waiting for etcd to have a quorum: %w", err)
	}
	return nil
}

// otherMasters are the addresses of the masters besides this one.
func (m *machine) otherMasters() []string {
	var list []string
	for _, p := range m.node.Masters {
		if p.Name != m.node.Name {
			list = append(list, p.Address)
		}
	}
	return list
}
