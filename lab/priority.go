package lab

import (
	"os"
	"strconv"
)

// small is the priority of a machine of one processor beside larger ones, as a
// niceness. With -10 its share is nine times theirs.
const small = -10

// priority is the niceness of all that a machine's processes do, where machines
// have more processors than the host. Those that get by with one, as members of
// etcd and balancers do, need little of it but need it at once: all others wait
// for their answers, and members that wait for each other choose a new leader.
// KVM's machines are as fast as the host, and have no need of it.
func priority(cpus int, kvm bool) int {
	if cpus > 1 || kvm {
		return 0
	}
	return small
}

// setPriority is for the whole session of this process, which the kernel
// schedules as one (sched(7), autogroup). It is best effort: only root may, and
// not every kernel has it.
func setPriority(nice int) {
	if nice != 0 {
		_ = os.WriteFile("/proc/self/autogroup", []byte(strconv.Itoa(nice)), 0)
	}
}
