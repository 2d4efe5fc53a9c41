package cluster

// Machine is how large a node is at least.
type Machine struct {
	CPUs         int
	Memory, Disk Bytes
}

// gigabyte is what disks are sold in; memory comes in GiB.
const gigabyte Bytes = 1e9

// Minimum is the smallest machine that a size allows for a role; zero for an
// unknown size or role. Disk is the system disk; for the raw disks of rook nodes
// see RawDisk.
func Minimum(size Size, role Role) Machine {
	switch size {
	case SizeTest:
		return testMinimum(role)
	case SizeProduction:
		return productionMinimum(role)
	}
	return Machine{}
}

func testMinimum(role Role) Machine {
	switch role {
	case RoleLB:
		return Machine{1, 512 * MiB, 5 * gigabyte}
	case RoleHarbor, RoleEtcd:
		return Machine{1, 1 * GiB, 15 * gigabyte}
	case RoleMaster:
		return Machine{2, 4 * GiB, 20 * gigabyte}
	case RoleWorker, RoleRook:
		return Machine{4, 8 * GiB, 20 * gigabyte}
	}
	return Machine{}
}

func productionMinimum(role Role) Machine {
	switch role {
	case RoleLB, RoleEtcd:
		return Machine{4, 8 * GiB, 40 * gigabyte}
	case RoleHarbor:
		return Machine{4, 8 * GiB, 1000 * gigabyte}
	case RoleMaster, RoleWorker:
		return Machine{8, 16 * GiB, 40 * gigabyte}
	case RoleRook:
		return Machine{16, 32 * GiB, 40 * gigabyte}
	}
	return Machine{}
}

// systemDisk is enough for a node that keeps its data elsewhere.
const systemDisk = 40 * gigabyte

// harborMinimum is what Harbor itself asks for, which is more than the test
// size gives: https://goharbor.io/docs/2.13.0/install-config/installation-prereqs/
var harborMinimum = Machine{2, 4 * GiB, 40 * gigabyte}

// machine checks what a node declares of its size. What it does not declare is
// not known here; the agent's gates see the real machine.
func (v *checker) machine(field string, n Node) {
	least := Minimum(v.c.Size, n.Role)
	if n.DataDisk.Path != "" {
		// What is large are the images.
		least.Disk = min(least.Disk, systemDisk)
	}
	if n.CPUs < 0 || n.CPUs > maxCPUs {
		v.errorf(field+".cpus", "expected 1 to %d, got %d", maxCPUs, n.CPUs)
	} else if n.CPUs != 0 && n.CPUs < least.CPUs {
		v.errorf(field+".cpus", "%d is too few: size %s wants at least %d for role %s", n.CPUs, v.c.Size, least.CPUs, n.Role)
	}
	if n.Memory != 0 && n.Memory < least.Memory {
		v.errorf(field+".memory", "%s is too little: size %s wants at least %s for role %s", n.Memory, v.c.Size, least.Memory, n.Role)
	}
	if n.Disk != 0 && n.Disk < least.Disk {
		v.errorf(field+".disk", "%s is too little: size %s wants at least %dGB for role %s", n.Disk, v.c.Size, least.Disk/gigabyte, n.Role)
	}
	if n.Role == RoleHarbor && v.c.Registry.Kind == RegistryHarbor {
		v.harborMachine(field, n)
	}
}

func (v *checker) harborMachine(field string, n Node) {
	const advice = "Harbor asks for 2 CPUs, 4GiB and 40GB; registry.kind distribution runs well on less"
	least := harborMinimum
	switch {
	case n.Memory != 0 && n.Memory < least.Memory:
		v.warnf(field+".memory", "%s is little: %s", n.Memory, advice)
	case n.CPUs != 0 && n.CPUs < least.CPUs:
		v.warnf(field+".cpus", "%d is little: %s", n.CPUs, advice)
	case n.Disk != 0 && n.DataDisk.Path == "" && n.Disk < least.Disk:
		v.warnf(field+".disk", "%s is little: %s", n.Disk, advice)
	}
}
