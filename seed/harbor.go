package seed

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// makeProject makes the project that a repository of Harbor is in: the first
// folder of its name. One that is there is left as it is. API: POST
// /api/v2.0/projects, https://goharbor.io/docs/2.13.0/build-customize-contribute/configure-swagger/
func (r Registry) makeProject(ctx context.Context, t http.RoundTripper, repository string) error {
	name, _, found := strings.Cut(repository, "/")
	if !found {
		return &permanent{fmt.Errorf("%s/%s: Harbor has images in projects only: expected %[1]s/PROJECT/NAME", r.Host, repository)}
	}
	body, err := json.Marshal(map[string]any{"project_name": name, "metadata": map[string]string{"public": "true"}})
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+r.Host+"/api/v2.0/projects", bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	request.SetBasicAuth(r.User, r.Password)
	response, err := t.RoundTrip(request)
	if err != nil {
		return r.explain(err)
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusCreated, http.StatusConflict:
		return nil
	case http.StatusUnauthorized, http.StatusForbidden:
		return &permanent{fmt.Errorf("make the project %s of %s: HTTP %d: the password is not that of the cluster's secrets: it was changed in Harbor, or these are other secrets", name, r.Host, response.StatusCode)}
	}
	return fmt.Errorf("make the project %s of %s: HTTP %d", name, r.Host, response.StatusCode)
}
