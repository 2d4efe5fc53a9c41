package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"
)

// Store keeps machines in a file of bbolt's, which survives kill -9: a change is
// on the disk before anybody is told of it.
type Store struct{ db *bbolt.DB }

// Stranger is a machine that cluster.yaml does not name.
type Stranger struct {
	MAC   string    `json:"mac"`
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
	// Asked is what it wanted, in words.
	Asked string `json:"asked"`
}

// The buckets of the file.
const (
	bucketNodes     = "nodes"
	bucketStrangers = "strangers"
)

// maxStrangers are kept: a network may have thousands of machines.
const maxStrangers = 1000

// lockPatience is how long another server may take to end.
const lockPatience = 2 * time.Second

// Open opens the file, which is made where it is not there.
func Open(file string) (*Store, error) {
	db, err := bbolt.Open(file, 0o600, &bbolt.Options{Timeout: lockPatience})
	if errors.Is(err, bbolterrors.ErrTimeout) {
		return nil, fmt.Errorf("%s: another imgbuild serve has it: one server remembers a cluster", file)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", file, err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, b := range []string{bucketNodes, bucketStrangers} {
			if _, err := tx.CreateBucketIfNotExists([]byte(b)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", file, err), db.Close())
	}
	return &Store{db}, nil
}

// Close ends the use of the file.
func (s *Store) Close() error { return s.db.Close() }

// Ensure makes the nodes that are not there yet, each with a nonce.
func (s *Store) Ensure(names []string, nonce func() string, now time.Time) error {
	return s.update(func(tx *bbolt.Tx) error {
		for _, name := range names {
			if tx.Bucket([]byte(bucketNodes)).Get([]byte(name)) != nil {
				continue
			}
			if err := put(tx, bucketNodes, name, New(name, nonce(), now)); err != nil {
				return err
			}
		}
		return nil
	})
}

// Node reads a machine.
func (s *Store) Node(name string) (Node, error) {
	var n Node
	err := s.db.View(func(tx *bbolt.Tx) error { return get(tx, name, &n) })
	return n, err
}

// Change changes a machine, all or nothing. What change has done is kept where it
// returns an error, too: an alarm is news, although the request is refused.
func (s *Store) Change(name string, change func(*Node) error) (Node, error) {
	var n Node
	var refused error
	err := s.update(func(tx *bbolt.Tx) error {
		if err := get(tx, name, &n); err != nil {
			return err
		}
		refused = change(&n)
		return put(tx, bucketNodes, name, n)
	})
	return n, errors.Join(err, refused)
}

// Stranger remembers a machine that nobody knows.
func (s *Store) Stranger(mac, asked string, now time.Time) error {
	return s.update(func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte(bucketStrangers))
		was := Stranger{MAC: mac, First: now}
		if data := b.Get([]byte(mac)); data != nil {
			if err := json.Unmarshal(data, &was); err != nil {
				return err
			}
			// Who asks all the time is not news all the time.
			if now.Sub(was.Last) < time.Minute && was.Asked == asked {
				return nil
			}
		} else if b.Stats().KeyN >= maxStrangers {
			return nil
		}
		was.Last, was.Asked = now, asked
		return put(tx, bucketStrangers, mac, was)
	})
}

// Strangers are the machines that nobody knows, by MAC.
func (s *Store) Strangers() ([]Stranger, error) {
	var list []Stranger
	err := s.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte(bucketStrangers)).ForEach(func(_, data []byte) error {
			var one Stranger
			if err := json.Unmarshal(data, &one); err != nil {
				return err
			}
			list = append(list, one)
			return nil
		})
	})
	return list, err
}

func (s *Store) update(f func(*bbolt.Tx) error) error {
	if err := s.db.Batch(f); err != nil {
		return fmt.Errorf("%s: %w", s.db.Path(), err)
	}
	return nil
}

// ErrUnknown is a name that is not in the file.
var ErrUnknown = errors.New("no such node")

func get(tx *bbolt.Tx, name string, into *Node) error {
	data := tx.Bucket([]byte(bucketNodes)).Get([]byte(name))
	if data == nil {
		return fmt.Errorf("%s: %w", name, ErrUnknown)
	}
	*into = Node{}
	if err := json.Unmarshal(data, into); err != nil {
		return err
	}
	if into.Since == nil {
		into.Since = map[Stage]time.Time{}
	}
	return nil
}

func put(tx *bbolt.Tx, bucket, key string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return tx.Bucket([]byte(bucket)).Put([]byte(key), data)
}
