package firstboot

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"time"

	"imgbuild/cluster/node"
)

// How often the server that a node was installed from is told: with news, and now
// and then without. A server that does not answer is asked less often.
const (
	tellEvery = 2 * time.Second
	tellAlive = 30 * time.Second
	tellLast  = time.Minute
)

// outside tells the status of the agent to the server that the node was installed
// from, where there is one. It never holds the node up.
type outside struct {
	host *Host
	name string

	mu     sync.Mutex
	status []byte
	fresh  bool
	told   time.Time
	// silent doubles while nobody answers.
	silent time.Duration
	// heard is what was last answered for.
	heard []byte
}

// set is the newest status.
func (o *outside) set(status []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.status, o.fresh = status, true
}

// tell sends the newest status, if it is time to.
func (o *outside) tell(ctx context.Context) {
	o.mu.Lock()
	status, now := o.status, o.host.Now()
	due := status != nil && (o.fresh && now.Sub(o.told) >= o.silent || now.Sub(o.told) >= tellAlive+o.silent)
	if due {
		o.fresh, o.told = false, now
	}
	o.mu.Unlock()
	if !due {
		return
	}
	err := o.send(ctx, status)
	o.mu.Lock()
	defer o.mu.Unlock()
	if err != nil {
		o.silent = min(max(2*o.silent, tellEvery), tellLast)
		o.fresh = true
		return
	}
	o.silent, o.heard = 0, status
}

func (o *outside) send(ctx context.Context, status []byte) error {
	c, err := o.host.readClaim()
	if err != nil {
		return err
	}
	word := c.Nonce
	if data, err := o.host.read(node.ReportPath); err == nil {
		word = strings.TrimSpace(string(data))
	}
	return o.host.post(ctx, c, o.name, "status", word, status, &struct{}{})
}

// lastWord waits until the server knows the newest status. A server that is gone
// does not keep the agent: it hears it after the next boot.
func (o *outside) lastWord(ctx context.Context, patience time.Duration) bool {
	end := o.host.Now().Add(patience)
	for o.host.Now().Before(end) && ctx.Err() == nil {
		o.mu.Lock()
		heard := string(o.heard) == string(o.status)
		o.mu.Unlock()
		if heard {
			return true
		}
		o.tell(ctx)
		if o.host.Sleep(ctx, tellEvery) != nil {
			break
		}
	}
	return false
}

// tellOutside starts to report once the node knows its name.
func (m *machine) tellOutside(ctx context.Context) {
	if m.report.outside != nil || !m.host.exists(node.ClaimPath) {
		return
	}
	m.report.outside = &outside{host: m.host, name: m.node.Name}
	m.report.update(func(*Status) {})
	m.host.Every(ctx, tellEvery, m.report.outside.tell)
}

// lastPatience is how long an agent that is done tries to be heard.
const lastPatience = 30 * time.Minute

// farewell says how it has ended to the server.
func (m *machine) farewell(ctx context.Context) {
	if m.report.outside == nil || m.report.outside.lastWord(ctx, lastPatience) {
		return
	}
	m.console.say("the server that this node was installed from has not heard that it is %s: it hears it after the next boot", m.report.status.State)
}

// encode is the status as it is kept and sent.
func (s Status) encode() ([]byte, error) {
	data, err := json.MarshalIndent(s, "", "  ")
	return append(data, '\n'), err
}
