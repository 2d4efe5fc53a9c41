package install

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"unicode/utf16"

	"imgbuild/protocol"
)

// holds is what is on a disk.
type holds int

const (
	// empty: nothing at its start and its end, where everything that is known begins.
	empty holds = iota
	// unfinished: an installation of ours that has not ended.
	unfinished
	// image: one of imgbuild's.
	image
	// other: anything else.
	other
)

// statePartition is what the state partition of an image is called.
const statePartition = "imgbuild-state"

// look reads the first and the last MiB of a disk. File systems, volume managers,
// RAIDs and partition tables all have something there.
func look(t io.ReaderAt, size int64) (holds, error) {
	if size < 2*edge {
		return other, fmt.Errorf("it has %d bytes only", size)
	}
	head, tail := make([]byte, edge), make([]byte, edge)
	if _, err := t.ReadAt(head, 0); err != nil {
		return other, fmt.Errorf("read its start: %w", err)
	}
	if _, err := t.ReadAt(tail, size-edge); err != nil {
		return other, fmt.Errorf("read its end: %w", err)
	}
	switch {
	case isZero(head) && isZero(tail):
		return empty, nil
	case bytes.HasPrefix(head, began):
		return unfinished, nil
	case hasPartition(head, statePartition):
		return image, nil
	}
	return other, nil
}

// sector is the only logical sector that images are made for, in bytes.
const sector = 512

// hasPartition finds a partition by its name in a GPT: UEFI 2.10, section 5.3.
func hasPartition(head []byte, name string) bool {
	header := head[sector : 2*sector]
	if !bytes.HasPrefix(header, []byte("EFI PART")) {
		return false
	}
	first := binary.LittleEndian.Uint64(header[72:])
	count, size := binary.LittleEndian.Uint32(header[80:]), binary.LittleEndian.Uint32(header[84:])
	if size < 128 || first > edge/sector {
		return false
	}
	for i := range uint64(min(count, 128)) {
		at := first*sector + i*uint64(size)
		if at+128 > uint64(len(head)) {
			return false
		}
		if entryName(head[at+56:at+128]) == name {
			return true
		}
	}
	return false
}

// entryName is UTF-16, padded with zeros.
func entryName(b []byte) string {
	var units []uint16
	for i := 0; i+1 < len(b); i += 2 {
		u := binary.LittleEndian.Uint16(b[i:])
		if u == 0 {
			break
		}
		units = append(units, u)
	}
	return string(utf16.Decode(units))
}

// refusal is why a machine is not installed, until somebody changes something.
type refusal struct{ reason string }

func (r refusal) Error() string { return r.reason }

// allowed says whether the order lets a disk be overwritten. what names what is on
// it, for people.
func allowed(h holds, o protocol.Order, disk, what string) error {
	switch {
	case h == empty || h == unfinished || o.Wipe:
		return nil
	case h == image && o.Overwrite:
		return nil
	case h == image:
		return refusal{fmt.Sprintf("%s holds an imgbuild image, and nobody has asked for it to be replaced: imgbuild reinstall %s does, wipe: true in cluster.yaml always", disk, o.Node)}
	}
	return refusal{fmt.Sprintf("%s holds %s: it is left alone; empty it, name another installDisk, or set wipe: true for %s in cluster.yaml", disk, what, o.Node)}
}
