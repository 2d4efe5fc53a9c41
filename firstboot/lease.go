package firstboot

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// A master joins alone: etcd takes one learner at a time, and each member that
// joins makes the others busy. The turn is a Lease, taken by its holder's name:
// a holder whose power was cut goes on.
const (
	leaseName    = "imgbuild-join"
	leases       = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"
	leasePath    = leases + "/" + leaseName
	leaseRenewal = 30 * time.Second
	// leaseLost is how long a lease has to stay as it is before its holder
	// counts as gone. It is long: a holder that comes back after another has
	// taken its turn makes two learners.
	leaseLost = 20 * time.Minute
	freeIt    = "if it is gone for good: kubectl -n kube-system delete lease " + leaseName
	microTime = "2006-01-02T15:04:05.000000Z07:00"
)

type lease struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name            string `json:"name"`
		Namespace       string `json:"namespace"`
		ResourceVersion string `json:"resourceVersion,omitempty"`
	} `json:"metadata"`
	Spec struct {
		Holder  string `json:"holderIdentity"`
		Seconds int    `json:"leaseDurationSeconds"`
		Taken   string `json:"acquireTime"`
		Renewed string `json:"renewTime"`
	} `json:"spec"`
}

// sightOfLease is a version of the lease and when this node saw it first. The
// times that are written in it are of another clock.
type sightOfLease struct {
	version string
	since   time.Time
}

// ownLease is the lease as this node takes or renews it.
func (m *machine) ownLease(old lease) lease {
	now := m.host.Now().UTC().Format(microTime)
	l := old
	l.APIVersion, l.Kind = "coordination.k8s.io/v1", "Lease"
	l.Metadata.Name, l.Metadata.Namespace = leaseName, "kube-system"
	if l.Spec.Holder != m.node.Name {
		l.Spec.Holder, l.Spec.Taken = m.node.Name, now
	}
	l.Spec.Seconds, l.Spec.Renewed = int(leaseLost.Seconds()), now
	return l
}

// takeLease is one attempt to have the turn.
func (m *machine) takeLease(ctx context.Context, client *api) error {
	var have lease
	err := client.get(ctx, leasePath, &have)
	switch {
	case notFound(err):
		err = client.create(ctx, leases, m.ownLease(lease{}))
	case err != nil:
		return err
	case have.Spec.Holder == m.node.Name:
		err = client.replace(ctx, leasePath, m.ownLease(have))
	default:
		if err := m.staleLease(ctx, have); err != nil {
			return err
		}
		m.console.say("WARNING: taking the turn to join from %s, which has not renewed it for %v", have.Spec.Holder, leaseLost)
		err = client.replace(ctx, leasePath, m.ownLease(have))
	}
	if answered(err, http.StatusConflict) {
		return errors.New("waiting for the turn to join: another master was quicker")
	}
	return err
}

// staleLease is nil where another's turn may be taken: it has not been renewed
// for long, by this node's own watch, and no member of etcd is on its way in.
func (m *machine) staleLease(ctx context.Context, have lease) error {
	waiting := fmt.Sprintf("waiting for %s, which joins since %s (%s)", have.Spec.Holder, have.Spec.Taken, freeIt)
	now := m.host.Now()
	if m.lease.version != have.Metadata.ResourceVersion {
		m.lease = sightOfLease{have.Metadata.ResourceVersion, now}
	}
	if now.Sub(m.lease.since) < leaseLost {
		return errors.New(waiting)
	}
	if !m.stackedEtcd() {
		return nil
	}
	coming, err := m.unsettledMembers(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", waiting, err)
	}
	if len(coming) > 0 {
		return fmt.Errorf("%s: etcd still has its member %s, which etcdctl member remove takes out", waiting, strings.Join(coming, ", "))
	}
	return nil
}

func (m *machine) unsettledMembers(ctx context.Context) ([]string, error) {
	etcd, err := m.etcd()
	if err != nil {
		return nil, err
	}
	members, err := etcd.members(ctx)
	return unsettled(members), err
}

// renewLease shows the others that this node is still at it.
func (m *machine) renewLease(ctx context.Context, client *api) error {
	var have lease
	if err := client.get(ctx, leasePath, &have); err != nil {
		return err
	}
	if have.Spec.Holder != m.node.Name {
		return fmt.Errorf("%s has taken the turn to join", have.Spec.Holder)
	}
	return client.replace(ctx, leasePath, m.ownLease(have))
}

// yieldLease lets others join where an attempt has failed before it changed
// etcd; a member that is on its way in keeps the turn.
func (m *machine) yieldLease(ctx context.Context, client *api) {
	if m.stackedEtcd() {
		if coming, err := m.unsettledMembers(ctx); err != nil || len(coming) > 0 {
			return
		}
	}
	if err := m.dropLease(ctx, client); err != nil {
		m.console.log("imgbuild: lease " + leaseName + ": " + err.Error())
	}
}

func (m *machine) holdsLease(ctx context.Context, client *api) (bool, error) {
	var have lease
	if err := client.get(ctx, leasePath, &have); err != nil {
		if notFound(err) {
			return false, nil
		}
		return false, err
	}
	return have.Spec.Holder == m.node.Name, nil
}

// dropLease ends this node's turn, and nobody else's.
func (m *machine) dropLease(ctx context.Context, client *api) error {
	var have lease
	if err := client.get(ctx, leasePath, &have); err != nil {
		if notFound(err) {
			return nil
		}
		return err
	}
	if have.Spec.Holder != m.node.Name {
		return nil
	}
	err := client.deleteVersion(ctx, leasePath, have.Metadata.ResourceVersion)
	if notFound(err) {
		return nil
	}
	return err
}
