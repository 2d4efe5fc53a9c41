package firstboot

import (
	"strconv"
	"time"

	"imgbuild/cluster/node"
)

// normalHeartbeat is etcd's own default. Everything below is the default of the
// program that it is for, as long as the heartbeat is.
const normalHeartbeat = 100 * time.Millisecond

// heartbeat is the pace of the cluster: machines that are busy for a second now
// and then must not be taken for dead, since what follows makes them busier.
func heartbeat(n node.Node) time.Duration {
	return max(normalHeartbeat, duration(n.Timeouts.Heartbeat, normalHeartbeat))
}

// election is how long a member of etcd waits for its leader: ten heartbeats
// (etcd's documentation, "Tuning").
func election(n node.Node) time.Duration { return 10 * heartbeat(n) }

// etcdPace are etcd's settings of it, in milliseconds.
func etcdPace(n node.Node) object {
	return object{"heartbeat-interval": heartbeat(n).Milliseconds(), "election-timeout": election(n).Milliseconds()}
}

// etcdArgs are the same for kubeadm's own etcd. None where they are etcd's
// defaults.
func etcdArgs(n node.Node) []object {
	if heartbeat(n) == normalHeartbeat {
		return nil
	}
	return []object{
		argument("election-timeout", strconv.FormatInt(election(n).Milliseconds(), 10)),
		argument("heartbeat-interval", strconv.FormatInt(heartbeat(n).Milliseconds(), 10)),
	}
}

// leaseArgs are how long the controller manager and the scheduler keep their
// lease. Losing it makes them start again.
func leaseArgs(n node.Node) []object {
	lease := 60 * heartbeat(n)
	if n.Topology == "single" {
		// Nobody else could take over. (Without an election the controller manager
		// gives a starting API 10 s only.)
		lease = max(lease, 40*time.Second)
	}
	if lease <= 15*time.Second { // the default
		return nil
	}
	return []object{
		argument("leader-elect-lease-duration", lease.String()),
		argument("leader-elect-renew-deadline", (lease * 3 / 4).String()),
		argument("leader-elect-retry-period", (lease / 10).String()),
	}
}

// readyTimeout is how long a balancer waits for a master's answer.
func readyTimeout(n node.Node) time.Duration { return max(5*time.Second, election(n)) }

func argument(name, value string) object { return object{"name": name, "value": value} }
