package netboot

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"imgbuild/cluster"
	"imgbuild/netboot/artefact"
	"imgbuild/netboot/state"
)

// What is no secret, over plain HTTP: firmware and iPXE know nothing else, and a
// kernel sends a file fastest where nothing encrypts it.

func (s *Server) publicHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ipxe/{file}", s.serveLoader)
	mux.HandleFunc("GET /boot/{file}", s.serveScript)
	mux.HandleFunc("GET /images/{file}", s.serveImage)
	return mux
}

func (s *Server) serveLoader(w http.ResponseWriter, r *http.Request) {
	file, ok := s.loader(r.PathValue("file"))
	if !ok {
		http.NotFound(w, r)
		return
	}
	s.sendFile(w, r, file, "")
}

// serveImage sends a file of an image, whole or the part that a machine still
// lacks. Whoever goes on with a part says of which image.
func (s *Server) serveImage(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("file")
	role, ext, _ := strings.Cut(name, ".")
	set, ok := s.Sets[cluster.Role(role)]
	if !ok {
		http.NotFound(w, r)
		return
	}
	switch "." + ext {
	case artefact.ExtManifest, artefact.ExtSignature:
		text, signature, err := set.Sign(s.key)
		if err != nil {
			s.fail(w, http.StatusInternalServerError, err)
			return
		}
		if "."+ext == artefact.ExtSignature {
			text = []byte(signature + "\n")
		}
		http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(text))
	case artefact.ExtImage, artefact.ExtUKI, artefact.ExtKernel, artefact.ExtInitrd:
		s.sendFile(w, r, set.File("."+ext), set.Manifest.SHA256)
	default:
		http.NotFound(w, r)
	}
}

// sendFile lets the kernel send it: http.ServeContent of an *os.File is sendfile(2).
func (s *Server) sendFile(w http.ResponseWriter, r *http.Request, file, tag string) {
	f, err := os.Open(file)
	if err != nil {
		s.fail(w, http.StatusInternalServerError, err)
		return
	}
	defer f.Close()
	s.metrics.downloads.Inc()
	defer s.metrics.downloads.Dec()
	w.Header().Set("Content-Type", "application/octet-stream")
	if tag != "" {
		w.Header().Set("ETag", `"`+tag+`"`)
	}
	http.ServeContent(w, r, path.Base(file), time.Time{}, f)
}

// serveScript answers the machine that asks what to boot.
func (s *Server) serveScript(w http.ResponseWriter, r *http.Request) {
	mac := strings.ReplaceAll(strings.TrimSuffix(r.PathValue("file"), ".ipxe"), "-", ":")
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	n, ok := s.byMAC[mac]
	if !ok {
		if len(mac) > 17 || strings.Trim(mac, "0123456789abcdef:") != "" {
			http.NotFound(w, r)
			return
		}
		s.stranger(mac, "for a boot script")
		fmt.Fprint(w, strangerScript(mac))
		return
	}
	if !s.serves(n) {
		fmt.Fprint(w, unservedScript(n))
		return
	}
	install := false
	kept, err := s.change(n.Name, func(k *state.Node) error {
		install = k.Boots(time.Now())
		return nil
	})
	if err != nil {
		s.fail(w, http.StatusInternalServerError, err)
		return
	}
	t := target{Node: n, Set: s.Sets[n.Role], Public: s.PublicURL(), Plan: kept.Plan}
	t.Node.MAC = mac
	if !install {
		s.tell(n.Name, "starts from its disk")
		fmt.Fprint(w, diskScript(t))
		return
	}
	t.Install = installArguments(s.installation(n, mac, kept.Nonce))
	s.tell(n.Name, "is sent the installer")
	fmt.Fprint(w, installScript(t))
}

// serves tells whether a node may be installed.
func (s *Server) serves(n cluster.Node) bool { return slices.Contains(s.Nodes, n.Name) }
