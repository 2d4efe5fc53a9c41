package disk

import (
	"fmt"

	"github.com/diskfs/go-diskfs/backend"
	"github.com/diskfs/go-diskfs/partition/gpt"
)

// Partition types: the Discoverable Partitions Specification's for x86-64. State
// is plain Linux data: the specification's type for /var ties it to a machine-id.
const (
	TypeESP    = string(gpt.EFISystemPartition)
	TypeRoot   = string(gpt.LinuxRootX86_64)
	TypeVerity = "2C7357ED-EBD2-46D9-AEC1-23D437EC2BF5"
	TypeState  = string(gpt.LinuxFilesystem)
)

const (
	sector    = 512
	alignment = 1 << 20
)

// imageSize is the size in bytes of an image of these partitions: 1 MiB more at
// both ends, for the table and its backup.
func imageSize(list []Written) int64 {
	end := int64(alignment)
	for _, w := range list {
		end = max(end, w.Start+w.Size)
	}
	return end + alignment
}

// tables are the first and the last MiB of an image: the partition table and
// its backup. There is nothing else in them.
func tables(uuid string, list []Written) (primary, backup []byte, err error) {
	table := &gpt.Table{LogicalSectorSize: sector, PhysicalSectorSize: sector, GUID: uuid, ProtectiveMBR: true}
	for i, w := range list {
		table.Partitions = append(table.Partitions, &gpt.Partition{
			Index: i + 1, Name: w.Name, Type: gpt.Type(w.Type), GUID: w.UUID,
			Start: uint64(w.Start / sector), End: uint64((w.Start+w.Size)/sector) - 1, Size: uint64(w.Size),
		})
	}
	e := &ends{size: imageSize(list), primary: make([]byte, alignment), backup: make([]byte, alignment)}
	if err := table.Write(e, e.size); err != nil {
		return nil, nil, fmt.Errorf("partition table: %w", err)
	}
	return e.primary, e.backup, nil
}

// ends takes what go-diskfs writes to an image. Written to the image itself, the
// table would sync everything in it, five times.
type ends struct {
	backend.WritableFile
	size            int64
	primary, backup []byte
}

// WriteAt takes what is in the first or the last MiB.
func (e *ends) WriteAt(p []byte, at int64) (int, error) {
	switch last, end := e.size-alignment, at+int64(len(p)); {
	case at >= 0 && end <= alignment:
		return copy(e.primary[at:], p), nil
	case at >= last && end <= e.size:
		return copy(e.backup[at-last:], p), nil
	}
	return 0, fmt.Errorf("%d bytes at byte %d are in a partition", len(p), at)
}
