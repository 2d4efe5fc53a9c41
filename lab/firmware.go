package lab

// NetBoot is how a machine starts from the network. Its disk is empty when it is
// new.
type NetBoot string

// The ways to start. The zero value starts from the disk alone.
const (
	// PXE is that of an UEFI firmware, over TFTP.
	PXE NetBoot = "pxe"
	// HTTP is an UEFI firmware's own.
	HTTP NetBoot = "http"
	// BIOS is a machine without UEFI, whose network card brings PXE.
	BIOS NetBoot = "bios"
	// DiskFirst is PXE where nothing on the disk starts.
	DiskFirst NetBoot = "disk-first"
)

// NetBoots are all ways to start from the network.
func NetBoots() []NetBoot { return []NetBoot{PXE, HTTP, BIOS, DiskFirst} }

// bootOrder are the places of disk and network, as QEMU counts; the network may
// have none.
func bootOrder(by NetBoot) (disk, nic string) {
	switch by {
	case "":
		return ",bootindex=0", ""
	case DiskFirst:
		return ",bootindex=0", ",bootindex=1"
	}
	return ",bootindex=1", ",bootindex=0"
}

// firmware are the options of QEMU that belong to the firmware alone, and what of
// it is in the network card: no option ROM, since OVMF has drivers of its own,
// which alone know the card's place in the order.
func firmware(by NetBoot) (args []string, rom string) {
	if by == BIOS {
		return nil, ""
	}
	args = []string{
		"-drive", "if=pflash,unit=0,format=raw,readonly=on,file=" + firmwareCode,
		"-drive", "if=pflash,unit=1,format=raw,file=" + varsFile,
	}
	if by != "" {
		// The network has no IPv6 router, for which the firmware would wait a minute.
		args = append(args, "-fw_cfg", "name=opt/org.tianocore/IPv6PXESupport,string=n")
	}
	if by == HTTP {
		args = append(args, "-fw_cfg", "name=opt/org.tianocore/IPv4PXESupport,string=n")
	}
	return args, ",romfile="
}
