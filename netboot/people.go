package netboot

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"imgbuild/ignition"
	"imgbuild/netboot/state"
	"imgbuild/netboot/web"
	"imgbuild/protocol"
)

// What people ask: over TLS with the token, to look; on the socket, to look and to
// change.

// cookie holds the token in a browser.
const cookie = "imgbuild"

func (s *Server) secureHandler() http.Handler {
	mux := http.NewServeMux()
	s.nodeRoutes(mux)
	mux.HandleFunc("GET /login", s.login)
	mux.HandleFunc("GET /v1/status", s.guarded(s.status))
	mux.HandleFunc("GET /v1/events", s.guarded(s.events))
	mux.HandleFunc("GET /metrics", s.guarded(s.metrics.serve))
	page := http.FileServerFS(web.Files)
	mux.HandleFunc("GET /", s.guarded(page.ServeHTTP))
	return headers(mux)
}

// localHandler is for commands on this machine.
func (s *Server) localHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", s.status)
	mux.HandleFunc("GET /v1/events", s.events)
	mux.HandleFunc("GET /v1/nodes/{node}/config", s.config)
	mux.HandleFunc("POST /v1/nodes/{node}/reinstall", s.command(func(k *state.Node) error {
		k.Reinstall(NewNonce(), time.Now())
		return nil
	}, "is to be installed again"))
	mux.HandleFunc("POST /v1/nodes/{node}/reissue", s.command(func(k *state.Node) error {
		return k.Reissue(time.Now())
	}, "may claim its secrets once more"))
	return mux
}

// config is a node's, without secrets: for machines that are given one by somebody
// else, such as a cloud.
func (s *Server) config(w http.ResponseWriter, r *http.Request) {
	n, ok := s.Cluster.Node(r.PathValue("node"))
	if !ok {
		s.fail(w, http.StatusNotFound, errors.New("no such node in cluster.yaml"))
		return
	}
	kept, err := s.Store.Node(n.Name)
	if err != nil {
		s.fail(w, http.StatusInternalServerError, err)
		return
	}
	config, err := ignition.RenderClaim(s.Cluster, n, s.Secrets, s.claimFile(kept))
	if err != nil {
		s.fail(w, http.StatusInternalServerError, err)
		return
	}
	_, _ = w.Write(config) // Who asked has gone.
}

func (s *Server) command(do func(*state.Node) error, says string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		name := r.PathValue("node")
		_, err := s.change(name, do)
		switch {
		case errors.Is(err, state.ErrUnknown):
			s.fail(w, http.StatusNotFound, fmt.Errorf("no node %s in cluster.yaml", name))
		case err != nil:
			s.fail(w, http.StatusConflict, err)
		default:
			s.tell(name, says)
			writeJSON(w, http.StatusOK, struct{}{})
		}
	}
}

// headers keep the page to itself: nothing from elsewhere, no frame around it.
func headers(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Referrer-Policy", "no-referrer")
		h.ServeHTTP(w, r)
	})
}

// login takes the token that was printed at the start, once for a browser.
func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	if !protocol.Equal(r.URL.Query().Get("token"), s.Token) {
		http.Error(w, "This is not the token. imgbuild serve has printed the whole address when it started.", http.StatusForbidden)
		return
	}
	http.SetCookie(w, &http.Cookie{
		Name: cookie, Value: s.Token, Path: "/", HttpOnly: true, Secure: true, SameSite: http.SameSiteStrictMode,
	})
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (s *Server) guarded(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		token := bearer(r)
		if c, err := r.Cookie(cookie); err == nil && token == "" {
			token = c.Value
		}
		if !protocol.Equal(token, s.Token) {
			http.Error(w, "Who may look has the token. imgbuild serve has printed the whole address when it started.", http.StatusForbidden)
			return
		}
		h(w, r)
	}
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	v, err := s.View()
	if err != nil {
		s.fail(w, http.StatusInternalServerError, err)
		return
	}
	writeJSON(w, http.StatusOK, v)
}

// Pauses of the stream of events: no more often than anybody can read, and often
// enough that a broken connection is noticed.
const (
	eventPause = 250 * time.Millisecond
	eventAlive = 15 * time.Second
)

// events sends a View with every change: server-sent events, HTML section 9.2.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	flush := http.NewResponseController(w)
	for {
		news := s.news()
		v, err := s.View()
		if err != nil {
			return
		}
		data, err := json.Marshal(v)
		if err != nil {
			return
		}
		if _, err := fmt.Fprintf(w, "data: %s\n\n", data); err != nil {
			return
		}
		if flush.Flush() != nil {
			return
		}
		select {
		case <-news:
		case <-time.After(eventAlive):
		case <-r.Context().Done():
			return
		}
		select {
		case <-time.After(eventPause):
		case <-r.Context().Done():
			return
		}
	}
}
