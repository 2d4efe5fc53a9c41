package lab

import (
	"context"
	"reflect"
	"time"
)

// watchPoll is how often Watch looks: as fast as people read.
const watchPoll = time.Second

// Watch shows the status of these nodes now, and again whenever something of it
// has changed, until all are Ready, which it reports, or ctx ends.
func (l *Lab) Watch(ctx context.Context, nodes []Node, show func(Status) error) (allReady bool, err error) {
	var followers []*follower
	for _, n := range nodes {
		followers = append(followers, l.follow(n))
	}
	return watch(ctx, followers, show)
}

func watch(ctx context.Context, followers []*follower, show func(Status) error) (allReady bool, err error) {
	var shown Status
	for {
		status, err := statusOf(followers)
		if err != nil {
			return false, err
		}
		if !reflect.DeepEqual(status, shown) {
			if err := show(status); err != nil {
				return false, err
			}
			shown = status
		}
		if status.allReady() {
			return true, nil
		}
		if pause(ctx, watchPoll) != nil {
			return false, nil
		}
	}
}

// statusOf reads what is new, and gives all that is known.
func statusOf(followers []*follower) (Status, error) {
	status := Status{Nodes: []NodeStatus{}, ServiceTest: ServiceTest{Checks: []Check{}}}
	for _, f := range followers {
		if _, err := f.next(); err != nil {
			return Status{}, err
		}
		status.add(f)
	}
	return status, nil
}

func (s Status) allReady() bool {
	for _, n := range s.Nodes {
		if !n.Ready {
			return false
		}
	}
	return true
}
