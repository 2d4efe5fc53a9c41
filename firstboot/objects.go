package firstboot

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// contentAnnotation is the hash of an object as it was applied: an image with
// another version of it applies it again.
const contentAnnotation = "imgbuild.io/content"

// parseObjects reads the documents of a YAML file and marks each with its hash.
func parseObjects(file string, data []byte) ([]object, error) {
	var objects []object
	for i, text := range bytes.Split(append([]byte("\n"), data...), []byte("\n---\n")) {
		var o object
		if err := yaml.Unmarshal(text, &o); err != nil {
			return nil, fmt.Errorf("%s: document %d: %w", file, i+1, err)
		}
		if len(o) == 0 {
			continue
		}
		if err := mark(o); err != nil {
			return nil, fmt.Errorf("%s: document %d: %w", file, i+1, err)
		}
		objects = append(objects, o)
	}
	return objects, nil
}

func mark(o object) error {
	metadata, ok := o["metadata"].(object)
	if !ok || metadata["name"] == nil || o["kind"] == nil || o["apiVersion"] == nil {
		return errors.New("expected an object with apiVersion, kind and metadata.name")
	}
	text, err := json.Marshal(o)
	if err != nil {
		return err
	}
	annotations, ok := metadata["annotations"].(object)
	if !ok {
		annotations = object{}
		metadata["annotations"] = annotations
	}
	digest := sha256.Sum256(text)
	annotations[contentAnnotation] = hex.EncodeToString(digest[:])
	return nil
}

// describe names an object in messages.
func describe(o object) string {
	return fmt.Sprintf("%v %v", o["kind"], o["metadata"].(object)["name"])
}

// applyObject makes the object be as it says, whether it is there or not.
func applyObject(ctx context.Context, client *api, o object) error {
	path, err := objectPath(ctx, client, o)
	if err != nil {
		return err
	}
	if err := client.apply(ctx, path, o); err != nil {
		return fmt.Errorf("apply %s: %w", describe(o), err)
	}
	return nil
}

// applied says whether the object is there as it was last applied.
func applied(ctx context.Context, client *api, o object) (bool, error) {
	path, err := objectPath(ctx, client, o)
	if err != nil {
		return false, err
	}
	var have struct {
		Metadata struct {
			Annotations map[string]string `json:"annotations"`
		} `json:"metadata"`
	}
	if err := client.get(ctx, path, &have); err != nil {
		if notFound(err) {
			return false, nil
		}
		return false, err
	}
	want := o["metadata"].(object)["annotations"].(object)[contentAnnotation]
	return have.Metadata.Annotations[contentAnnotation] == want, nil
}

// objectPath asks the API where objects of this kind are.
func objectPath(ctx context.Context, client *api, o object) (string, error) {
	version := fmt.Sprint(o["apiVersion"])
	group := "/apis/" + version
	if !strings.Contains(version, "/") {
		group = "/api/" + version
	}
	r, err := client.resource(ctx, group, fmt.Sprint(o["kind"]))
	if err != nil {
		return "", fmt.Errorf("%s: %w", describe(o), err)
	}
	metadata := o["metadata"].(object)
	name := url.PathEscape(fmt.Sprint(metadata["name"]))
	if !r.Namespaced {
		return group + "/" + r.Name + "/" + name, nil
	}
	namespace := "default"
	if n, ok := metadata["namespace"].(string); ok {
		namespace = n
	}
	return group + "/namespaces/" + namespace + "/" + r.Name + "/" + name, nil
}

// apiResource is a kind of objects.
type apiResource struct {
	Name       string `json:"name"`
	Kind       string `json:"kind"`
	Namespaced bool   `json:"namespaced"`
}

// resource finds a kind in a group. What a group has is asked once, and again
// where it lacks the kind: a definition may be new.
func (a *api) resource(ctx context.Context, group, kind string) (apiResource, error) {
	find := func() int {
		return slices.IndexFunc(a.resources[group], func(r apiResource) bool { return r.Kind == kind && !strings.Contains(r.Name, "/") })
	}
	if find() < 0 {
		var list struct {
			Resources []apiResource `json:"resources"`
		}
		if err := a.get(ctx, group, &list); err != nil {
			return apiResource{}, err
		}
		a.resources[group] = list.Resources
	}
	i := find()
	if i < 0 {
		return apiResource{}, fmt.Errorf("the API has no such kind in %s", group)
	}
	return a.resources[group][i], nil
}
