package firstboot

import (
	"context"
	"fmt"
	"strings"
)

// testPod is what is read of a pod of the test.
type testPod struct {
	Metadata struct {
		Labels map[string]string `json:"labels"`
	} `json:"metadata"`
	Spec struct {
		NodeName string `json:"nodeName"`
	} `json:"spec"`
	Status struct {
		PodIP             string `json:"podIP"`
		ContainerStatuses []struct {
			State struct {
				Waiting struct {
					Reason  string `json:"reason"`
					Message string `json:"message"`
				} `json:"waiting"`
			} `json:"state"`
		} `json:"containerStatuses"`
	} `json:"status"`
}

// podOfTest is a pod that has an address and runs.
func (m *machine) podOfTest(ctx context.Context, name string) (testPod, error) {
	var pod testPod
	client, err := m.client()
	if err != nil {
		return pod, err
	}
	if err := client.get(ctx, testNamespace+"/pods/"+name, &pod); err != nil {
		return pod, err
	}
	// A pod has its address before its program runs.
	for _, c := range pod.Status.ContainerStatuses {
		if w := c.State.Waiting; w.Reason != "" {
			return pod, fmt.Errorf("the pod %s does not run: %s", name, strings.TrimSpace(w.Reason+" "+w.Message))
		}
	}
	if pod.Status.PodIP == "" {
		if pod.Spec.NodeName == "" {
			return pod, fmt.Errorf("the pod %s is not scheduled", name)
		}
		return pod, fmt.Errorf("the pod %s on %s has no address", name, pod.Spec.NodeName)
	}
	return pod, nil
}
