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

// podOfTest is a pod that has an address.
func (m *machine) podOfTest(ctx context.Context, name string) (testPod, error) {
	var pod testPod
	client, err := m.client()
	if err != nil {
		return pod, err
	}
	if err := client.get(ctx, testNamespace+"/pods/"+name, &pod); err != nil {
		return pod, err
	}
	if pod.Status.PodIP == "" {
		why := "not scheduled"
		for _, c := range pod.Status.ContainerStatuses {
			why = strings.TrimSpace(c.State.Waiting.Reason + " " + c.State.Waiting.Message)
		}
		return pod, fmt.Errorf("the pod %s has no address: %s", name, why)
	}
	return pod, nil
}
