package firstboot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// kubeadmConfigPath is in memory only: it is made anew for each attempt.
const kubeadmConfigPath = "/run/imgbuild/kubeadm.yaml"

// initDone says whether kubeadm init has been finished on this node, or has
// been found to be none of its business and the node has joined.
//
// kubeadm writes super-admin.conf before the last kubeconfig, and runInit
// removes it once the API has shown that init went to its end. So without it
// and with everything else in order init is done, even while the API is still
// starting; where the API answers it has the last word. A first master that has
// joined has no such trace: there only the API can tell.
func (m *machine) initDone(ctx context.Context) (bool, error) {
	if len(m.faults()) > 0 || m.host.exists(superAdmin) {
		return false, nil
	}
	if done, err := m.initialised(ctx); err == nil {
		return done && m.keepsNobody(ctx), nil
	}
	return !m.host.joinedEtcd(), nil
}

// runInit runs kubeadm init until the cluster shows that it went to its end.
func (m *machine) runInit(ctx context.Context) error {
	course, why := decide(m.look(ctx))
	switch course {
	case toWait:
		return errors.New(why)
	case toJoin:
		m.sayCourse(toJoin, why)
		return m.runJoin(ctx)
	}
	faults := m.faults()
	if done := len(faults) == 0 && m.finishedBefore(ctx); !done {
		if err := m.kubeadmInit(ctx, faults); err != nil {
			return err
		}
	}
	if done, err := m.initialised(ctx); err != nil {
		return err
	} else if !done {
		return errors.New("kubeadm init has ended, but the cluster lacks some of what it makes")
	}
	return m.removeSuperAdmin()
}

// removeSuperAdmin: a certificate that no RBAC rule can take back has no use
// once RBAC works.
func (m *machine) removeSuperAdmin() error {
	if err := os.Remove(m.host.path(superAdmin)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", superAdmin, reason(err))
	}
	return nil
}

// finishedBefore gives the control plane of an interrupted init the time to
// start and to show how far it had come.
func (m *machine) finishedBefore(ctx context.Context) bool {
	if m.startKubelet(ctx) != nil {
		return false
	}
	limit := min(apiLimit, duration(m.node.Timeouts.API, apiLimit))
	if m.host.wait(ctx, limit, m.askAPI) != nil {
		return false
	}
	done, err := m.initialised(ctx)
	return err == nil && done
}

func (m *machine) kubeadmInit(ctx context.Context, faults []fault) error {
	ignore, err := m.clearWay(ctx, faults)
	if err != nil {
		return err
	}
	config, err := kubeadmConfig(m.node, ignore)
	if err != nil {
		return err
	}
	if err := m.host.write(kubeadmConfigPath, config, 0o600); err != nil {
		return err
	}
	return m.kubeadm(ctx, "init", "--config", m.host.path(kubeadmConfigPath), "--skip-token-print")
}
