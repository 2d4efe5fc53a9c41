package seed

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// projects answers as Harbor's API does, with one status after the other.
func (s *server) projects(t *testing.T, statuses ...int) *[]string {
	made := &[]string{}
	s.Harbor = true
	s.answers(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/api/v2.0/projects" {
			return false
		}
		user, password, _ := r.BasicAuth()
		assert.Equal(t, "admin "+testPassword, user+" "+password)
		var body struct {
			Name     string            `json:"project_name"`
			Metadata map[string]string `json:"metadata"`
		}
		assert.NoError(t, json.NewDecoder(r.Body).Decode(&body))
		assert.Equal(t, "true", body.Metadata["public"], "nodes pull without a password")
		*made = append(*made, body.Name)
		w.WriteHeader(statuses[min(len(*made), len(statuses))-1])
		return true
	})
	return made
}

// In Harbor an image is in a project, which is made before the first one.
func TestProjectsOfHarbor(t *testing.T) {
	s := newServer(t)
	made := s.projects(t, http.StatusCreated, http.StatusConflict)
	dir, _ := newLayout(t)
	for range 2 {
		pushed, err := s.Push(t.Context(), Image{Ref: "registry.k8s.io/app:1", Layout: dir}, nil)
		require.NoError(t, err)
		require.NoError(t, s.Verify(t.Context(), pushed))
	}
	assert.Equal(t, []string{"registry.k8s.io", "registry.k8s.io"}, *made)
}

func TestHarborRefusesAProject(t *testing.T) {
	dir, _ := newLayout(t)
	for status, want := range map[int]string{
		http.StatusUnauthorized:        "HTTP 401: the password is not that of the cluster's secrets",
		http.StatusInternalServerError: "HTTP 500: given up after 1s",
	} {
		s := newServer(t)
		s.Patience = time.Second
		s.projects(t, status)
		_, err := s.Push(t.Context(), Image{Ref: "registry.k8s.io/app:1", Layout: dir}, nil)
		assert.ErrorContains(t, err, "push registry.k8s.io/app:1: make the project registry.k8s.io of "+s.Host+": "+want)
	}
	s := newServer(t)
	s.projects(t, http.StatusCreated)
	_, err := s.Push(t.Context(), Image{Ref: "registry.example.com/app:1", Layout: dir}, nil)
	assert.ErrorContains(t, err, "Harbor has images in projects only: expected "+s.Host+"/PROJECT/NAME")
}
