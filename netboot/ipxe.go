package netboot

import (
	"fmt"
	"slices"
	"strings"

	"imgbuild/cluster"
	"imgbuild/netboot/artefact"
)

// Scripts of iPXE: https://ipxe.org/scripting. Each is one answer to "what shall I
// boot?", and a machine that cannot do it asks again.

// target is all that a script depends on.
type target struct {
	Node cluster.Node
	Set  artefact.Set
	// Public is the address of our files.
	Public string
	// Install are the installer's arguments.
	Install []string
	// Plan is the image on the machine's disk, where it has one.
	Plan string
}

// installScript starts the installer: the image's own kernel and initramfs.
func installScript(t target) string {
	args := strings.Join(slices.Concat(consoleArguments(t.Set.Cmdline), t.Install), " ")
	return script(t, "installing "+string(t.Node.Role),
		"kernel %[1]s.efi %[2]s || goto again", "kernel %[1]s.linux %[2]s || goto again", args)
}

// diskScript starts the machine's own disk. A firmware with UEFI takes the next of
// its boot options once this one has failed. A BIOS cannot start the image: iPXE
// loads what the image's own boot loader would.
func diskScript(t target) string {
	if t.Plan != t.Set.Manifest.Plan {
		return fmt.Sprintf(`#!ipxe
echo imgbuild: %s is installed: starting its disk
iseq ${platform} efi && exit 1 ||
echo imgbuild: this machine has a BIOS and the server no longer has its image: imgbuild reinstall %[1]s
sleep 30
exit 1
`, t.Node.Name)
	}
	return script(t, "is installed: starting its disk", "exit 1", "kernel %[1]s.linux %[2]s || goto again", strings.Join(t.Set.Cmdline, " "))
}

// script has a part for each firmware. The command line of a kernel that is not in
// a UKI names its initramfs, which iPXE gives that name.
func script(t target, says, uefi, bios, args string) string {
	images := t.Public + "/images/" + string(t.Node.Role)
	lines := []string{
		"#!ipxe",
		fmt.Sprintf("echo imgbuild: %s %s", t.Node.Name, says),
		"iseq ${platform} efi || goto bios",
		fill(uefi, images, args),
		"boot || goto again",
		":bios",
		fill(bios, images, args+" initrd="+string(t.Node.Role)+artefact.ExtInitrd),
		"initrd " + images + artefact.ExtInitrd + " || goto again",
		"boot || goto again",
		":again",
		"echo imgbuild: the server does not answer, asking again in 5 s",
		"sleep 5",
		"chain --replace " + t.Public + scriptPath(t.Node.MAC) + " || goto again",
	}
	return strings.Join(lines, "\n") + "\n"
}

func fill(line, images, args string) string {
	return strings.NewReplacer("%[1]s", images, "%[2]s", args).Replace(line)
}

// strangerScript is for a machine that cluster.yaml does not name.
func strangerScript(mac string) string {
	return fmt.Sprintf(`#!ipxe
echo imgbuild: the machine %s is not in cluster.yaml: it is listed, and left alone
sleep 5
exit 1
`, mac)
}

// unservedScript is for a node that this server was not started for.
func unservedScript(n cluster.Node) string {
	return fmt.Sprintf(`#!ipxe
echo imgbuild: this server installs other nodes than %s: starting from its disk
sleep 2
exit 1
`, n.Name)
}

// scriptPath is where iPXE finds a machine's script.
func scriptPath(mac string) string {
	return "/boot/" + strings.ReplaceAll(strings.ToLower(mac), ":", "-") + ".ipxe"
}

// consoleArguments are the image's own kernel arguments, without those that start
// its root: consoles and all else are as they will be.
func consoleArguments(cmdline []string) []string {
	return slices.DeleteFunc(slices.Clone(cmdline), func(arg string) bool {
		key, _, _ := strings.Cut(arg, "=")
		return slices.Contains([]string{"root", "rootfstype", "ro", "roothash", "systemd.verity_root_options"}, key)
	})
}

// installation is what the installer is told on the kernel's command line.
type installation struct {
	// Order is the address of the order, Nonce what it is asked for with.
	Order, Nonce string
	// CA is the pin of the server's CA, where the order is there over TLS.
	CA, Key string
	// Gateway may be empty.
	MAC, Address, Gateway string
}

// installArguments are what package install reads.
func installArguments(i installation) []string {
	args := []string{"rd.systemd.unit=imgbuild-install.target"}
	for _, arg := range []struct{ name, value string }{
		{"order", i.Order}, {"nonce", i.Nonce}, {"ca", i.CA}, {"key", i.Key},
		{"mac", i.MAC}, {"address", i.Address}, {"gateway", i.Gateway},
	} {
		if arg.value != "" {
			args = append(args, "imgbuild."+arg.name+"="+arg.value)
		}
	}
	return args
}
