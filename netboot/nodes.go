package netboot

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"filippo.io/age"
	"filippo.io/age/armor"

	"imgbuild/cluster"
	"imgbuild/ignition"
	"imgbuild/netboot/state"
	"imgbuild/protocol"
)

// What installers and agents ask, over TLS.

// maxRequest is far above what a machine has to say, in bytes.
const maxRequest = 256 << 10

func (s *Server) nodeRoutes(mux *http.ServeMux) {
	for pattern, handle := range map[string]func(*http.Request, cluster.Node) (any, error){
		"GET /v1/nodes/{node}/order":    s.giveOrder,
		"POST /v1/nodes/{node}/install": s.hearInstaller,
		"POST /v1/nodes/{node}/claim":   s.hearClaim,
		"POST /v1/nodes/{node}/status":  s.hearAgent,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { s.answer(w, r, handle) })
	}
}

// errBadRequest is a body that is none of the protocol's.
var errBadRequest = errors.New("the request is not one of the protocol's")

// answer finds the node and turns an error into the status that says what it is.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, handle func(*http.Request, cluster.Node) (any, error)) {
	n, ok := s.Cluster.Node(r.PathValue("node"))
	if !ok {
		s.fail(w, http.StatusNotFound, errors.New("no such node in cluster.yaml"))
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxRequest)
	body, err := handle(r, n)
	switch {
	case err == nil:
		writeJSON(w, http.StatusOK, body)
	case errors.Is(err, state.ErrNonce):
		s.fail(w, http.StatusForbidden, err)
	case errors.Is(err, state.ErrGone):
		s.fail(w, http.StatusGone, err)
	case errors.Is(err, state.ErrInstalled):
		s.fail(w, http.StatusConflict, err)
	case errors.Is(err, errBadRequest):
		s.fail(w, http.StatusBadRequest, err)
	default:
		s.Log.Error("not answered", "node", n.Name, "request", r.URL.Path, "error", err)
		s.fail(w, http.StatusInternalServerError, errors.New("the server cannot answer, its log says why"))
	}
}

func (s *Server) fail(w http.ResponseWriter, status int, err error) {
	writeJSON(w, status, protocol.Error{Error: err.Error()})
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // Who asked has gone.
}

// read decodes a request. More fields than ours are of a later version.
func read(r *http.Request, into any) error {
	data, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errBadRequest, err)
	}
	return nil
}

// bearer is the word that a request is shown with.
func bearer(r *http.Request) string {
	word, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return word
}

// knows refuses who does not know the node's nonce.
func knows(k *state.Node, nonce string) error {
	if nonce == "" || !protocol.Equal(k.Nonce, nonce) {
		return state.ErrNonce
	}
	return nil
}

func (s *Server) giveOrder(r *http.Request, n cluster.Node) (any, error) {
	if !s.serves(n) {
		return nil, fmt.Errorf("%w: this server installs other nodes", state.ErrInstalled)
	}
	overwrite := false
	kept, err := s.change(n.Name, func(k *state.Node) error {
		if err := knows(k, bearer(r)); err != nil {
			return err
		}
		var err error
		overwrite, err = k.Ordered(time.Now())
		return err
	})
	if err != nil {
		return nil, err
	}
	s.tell(n.Name, "has its order")
	return s.order(n, kept, overwrite)
}

// hearInstaller takes the installer's progress. What is only progress is kept in
// memory: a machine tells the next in a second.
func (s *Server) hearInstaller(r *http.Request, n cluster.Node) (any, error) {
	var p protocol.Progress
	if err := read(r, &p); err != nil {
		return nil, err
	}
	kept, err := s.Store.Node(n.Name)
	if err != nil {
		return nil, err
	}
	if err := knows(&kept, bearer(r)); err != nil {
		return nil, err
	}
	p.Line, p.Step = clean(p.Line), clean(p.Step)
	switch {
	case p.Step == protocol.StepInstalled:
		_, err = s.change(n.Name, func(k *state.Node) error { return k.Finished(p.Plan, time.Now()) })
	case p.Step == protocol.StepWriting && !kept.Overwrite && kept.Stage == state.Installing:
		// From now on the disk is ours, whatever is on it.
		_, err = s.change(n.Name, func(k *state.Node) error { k.Begun(); return nil })
	case p.Step == protocol.StepRefused:
		_, err = s.change(n.Name, func(k *state.Node) error { k.Alarm(time.Now(), p.Line); return nil })
	}
	s.update(n.Name, func(l *live) {
		l.Step, l.Bytes, l.Total = p.Step, p.Bytes, p.Total
		if p.Line != "" {
			l.Line = p.Line
		}
	})
	return struct{}{}, err
}

// hearClaim seals the node's secrets for the first who asks with the nonce.
func (s *Server) hearClaim(r *http.Request, n cluster.Node) (any, error) {
	var c protocol.Claim
	if err := read(r, &c); err != nil {
		return nil, err
	}
	recipient, err := age.ParseX25519Recipient(c.Recipient)
	if err != nil {
		return nil, fmt.Errorf("%w: the recipient is not one of age's", errBadRequest)
	}
	from, _, _ := net.SplitHostPort(r.RemoteAddr)
	_, err = s.change(n.Name, func(k *state.Node) error {
		if err := knows(k, c.Nonce); err != nil {
			k.Alarm(time.Now(), "somebody at "+from+" asked for the secrets with a wrong nonce")
			return err
		}
		return k.Claim(recipient.String(), protocol.Fingerprint(recipient.String()), from, time.Now())
	})
	if err != nil {
		s.Log.Warn("a claim was refused", "node", n.Name, "from", from, "reason", err)
		s.metrics.refused.Inc()
		return nil, err
	}
	bundle, err := ignition.Bundle(s.Cluster, n, s.Secrets)
	if err != nil {
		return nil, err
	}
	sealed, err := seal(bundle, recipient)
	if err != nil {
		return nil, err
	}
	s.tell(n.Name, "has claimed its secrets (key "+protocol.Fingerprint(recipient.String())+")")
	return protocol.Claimed{Bundle: sealed}, nil
}

// seal encrypts for one recipient, in ASCII.
func seal(plain []byte, to age.Recipient) (string, error) {
	var out bytes.Buffer
	text := armor.NewWriter(&out)
	w, err := age.Encrypt(text, to)
	if err == nil {
		_, err = w.Write(plain)
	}
	if err == nil {
		err = w.Close()
	}
	if err == nil {
		err = text.Close()
	}
	if err != nil {
		return "", fmt.Errorf("seal the bundle: %w", err)
	}
	return out.String(), nil
}

// hearAgent takes the status of a node's agent. Only who has the node's secrets can
// say that it is ready; before that the nonce will do.
func (s *Server) hearAgent(r *http.Request, n cluster.Node) (any, error) {
	var a protocol.AgentStatus
	if err := read(r, &a); err != nil {
		return nil, err
	}
	token, err := ignition.ReportToken(s.Secrets, n.Name)
	if err != nil {
		return nil, err
	}
	trusted := protocol.Equal(bearer(r), token)
	if !trusted {
		kept, err := s.Store.Node(n.Name)
		if err != nil {
			return nil, err
		}
		if err := knows(&kept, bearer(r)); err != nil {
			return nil, err
		}
	}
	if trusted && a.State == "ready" {
		if kept, err := s.Store.Node(n.Name); err != nil || kept.Stage == state.Claimed {
			_, err = s.change(n.Name, func(k *state.Node) error {
				if k.Stage == state.Claimed {
					k.BecameReady(time.Now())
				}
				return nil
			})
			if err != nil {
				return nil, err
			}
			s.Log.Info("node", "node", n.Name, "says", "ready")
		}
	}
	s.update(n.Name, func(l *live) {
		l.Step, l.Bytes, l.Total = "", 0, 0
		l.Agent, l.Phase, l.Line = clean(a.State), clean(a.Phase), clean(a.WaitingFor)
		l.Phases = phases(a.Phases)
	})
	return struct{}{}, nil
}

// maxPhases is more than any agent has.
const maxPhases = 64

func phases(list []protocol.AgentPhase) []protocol.AgentPhase {
	list = list[:min(len(list), maxPhases)]
	for i := range list {
		list[i].Name = clean(list[i].Name)
	}
	return list
}

// maxLine is how much of a line from outside is kept, in bytes.
const maxLine = 400

// clean keeps control characters and novels out of tables.
func clean(line string) string {
	line = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(line, "?"))
	if len(line) > maxLine {
		line = strings.ToValidUTF8(line[:maxLine], "") + "…"
	}
	return line
}
