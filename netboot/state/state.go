// Package state is what the server remembers of every machine: how far it is, who
// has claimed its secrets, and whether it may be installed.
//
// The rules are methods of Node, pure and without a clock of their own; Store keeps
// nodes through kill -9. It knows no protocol: package netboot asks and tells.
package state

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Stage is how far a machine is.
type Stage string

// The stages in their order.
const (
	// Waiting: nobody has heard of the machine.
	Waiting Stage = "waiting"
	// Discovered: it has asked what to boot.
	Discovered Stage = "discovered"
	// Installing: it has been told to install, and may have begun to.
	Installing Stage = "installing"
	// Installed: its disk is bootable.
	Installed Stage = "installed"
	// Claimed: it has its secrets.
	Claimed Stage = "claimed"
	// Ready: its agent has said so. Its secrets are given to nobody any more.
	Ready Stage = "ready"
)

// Stages are all of them, in their order.
func Stages() []Stage {
	return []Stage{Waiting, Discovered, Installing, Installed, Claimed, Ready}
}

// Node is what is remembered of a machine of cluster.yaml.
type Node struct {
	Name  string `json:"name"`
	Stage Stage  `json:"stage"`
	// Nonce is what the machine shows to be given anything. It was on the wire.
	Nonce string `json:"nonce"`
	// Recipient is the age recipient that the secrets were claimed for.
	Recipient string `json:"recipient,omitempty"`
	// Plan is the image that was installed.
	Plan string `json:"plan,omitempty"`
	// Overwrite lets the installation overwrite an imgbuild image: one of our own
	// that was begun, or one that reinstall names.
	Overwrite bool `json:"overwrite,omitempty"`
	// Since is when each stage was last reached.
	Since map[Stage]time.Time `json:"since"`
	// Installs counts the installations that have ended well.
	Installs int     `json:"installs"`
	Alarms   []Alarm `json:"alarms,omitempty"`
}

// Alarm is something that a person should look at.
type Alarm struct {
	At   time.Time `json:"at"`
	Text string    `json:"text"`
}

// maxAlarms are kept of each machine: somebody who knocks all night must not fill
// the disk.
const maxAlarms = 20

// New is a machine that nobody has heard of.
func New(name, nonce string, now time.Time) Node {
	return Node{Name: name, Stage: Waiting, Nonce: nonce, Since: map[Stage]time.Time{Waiting: now}}
}

func (n *Node) reach(s Stage, now time.Time) {
	if n.Stage != s {
		n.Stage = s
		n.Since[s] = now
	}
}

// Boots is the answer to a machine that asks what to boot: whether it is to be
// installed. Only a machine whose installation has not ended is.
func (n *Node) Boots(now time.Time) (install bool) {
	if n.Stage == Waiting {
		n.reach(Discovered, now)
	}
	return n.Stage == Discovered || n.Stage == Installing
}

// Errors of a machine that asks for what it must not have.
var (
	// ErrNonce: it does not know the nonce.
	ErrNonce = errors.New("this is not the node's nonce")
	// ErrInstalled: nobody has asked for the machine to be installed again.
	ErrInstalled = errors.New("the node is installed: imgbuild reinstall lets it be installed again")
	// ErrGone: the secrets are another's, or nobody's any more.
	ErrGone = errors.New("the node's secrets are gone")
)

// Ordered is the answer to a machine that asks for its order. overwrite is whether
// it has begun before, or is to be installed again.
func (n *Node) Ordered(now time.Time) (overwrite bool, err error) {
	if n.Stage != Waiting && n.Stage != Discovered && n.Stage != Installing {
		return false, ErrInstalled
	}
	n.reach(Installing, now)
	return n.Overwrite, nil
}

// Begun says that the machine is about to write its disk.
func (n *Node) Begun() { n.Overwrite = true }

// Finished says that the machine's disk is bootable.
func (n *Node) Finished(plan string, now time.Time) error {
	switch n.Stage {
	case Installing:
		n.Installs++
		n.Plan, n.Overwrite = plan, false
		n.reach(Installed, now)
		return nil
	case Installed:
		return nil // It did not hear our answer.
	}
	return fmt.Errorf("node %s is %s: nobody has asked it to install", n.Name, n.Stage)
}

// Claim binds the secrets to a recipient, and lets the same one ask again. Another
// one gets ErrGone, and so does everybody once the node is ready.
func (n *Node) Claim(recipient, fingerprint, from string, now time.Time) error {
	switch {
	case n.Stage == Ready:
		n.Alarm(now, fmt.Sprintf("somebody at %s (key %s) asked for the secrets after the node was ready", from, fingerprint))
		return fmt.Errorf("%w: the node is ready, they were destroyed", ErrGone)
	case n.Recipient != "" && n.Recipient != recipient:
		n.Alarm(now, fmt.Sprintf("a second claim from %s with another key, %s: the node or somebody else has the secrets already; imgbuild reissue %s allows one more", from, fingerprint, n.Name))
		return fmt.Errorf("%w: another key has claimed them; imgbuild reissue %s allows one more claim", ErrGone, n.Name)
	}
	n.Recipient = recipient
	n.reach(Claimed, now)
	return nil
}

// BecameReady destroys the claim.
func (n *Node) BecameReady(now time.Time) { n.reach(Ready, now) }

// Reissue lets anybody with the nonce claim once more.
func (n *Node) Reissue(now time.Time) error {
	if n.Stage != Claimed && n.Stage != Ready && n.Stage != Installed {
		return fmt.Errorf("node %s is %s: nobody has claimed its secrets", n.Name, n.Stage)
	}
	n.Recipient = ""
	n.reach(Installed, now)
	return nil
}

// Reinstall lets the machine be installed once more, over what it has, with a new
// nonce.
func (n *Node) Reinstall(nonce string, now time.Time) {
	n.Nonce, n.Recipient, n.Overwrite = nonce, "", true
	n.reach(Waiting, now)
}

// Alarm keeps a text for people. The same one again only gets a new time.
func (n *Node) Alarm(now time.Time, text string) {
	n.Alarms = slices.DeleteFunc(n.Alarms, func(a Alarm) bool { return a.Text == text })
	n.Alarms = append(n.Alarms, Alarm{now, text})
	n.Alarms = n.Alarms[max(0, len(n.Alarms)-maxAlarms):]
}
