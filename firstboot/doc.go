// Package firstboot is what a node does by itself after power-on: it checks
// that it is the machine it is meant to be, makes or joins its cluster, and
// reports.
//
// A role is a plain slice of phases, each of which looks at the system to see
// whether it is done. So the same run serves the first boot, a boot after a
// power cut in any phase, and every later boot, where it finds everything done.
//
// It deliberately does not: configure the machine (Ignition does, before it
// runs), pull or import images (they are baked), run kubeadm reset, or remove a
// CA's key or etcd's data. It uses no Kubernetes client library: the few
// requests it makes are plain HTTPS, which keeps it small and quick to start.
package firstboot
