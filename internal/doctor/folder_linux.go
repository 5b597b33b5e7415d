package doctor

import "golang.org/x/sys/unix"

func kindOf(stat *unix.Statfs_t) string {
	switch uint32(stat.Type) {
	case unix.TMPFS_MAGIC, unix.RAMFS_MAGIC:
		return kindMemory
	case unix.OVERLAYFS_SUPER_MAGIC:
		return kindContainer
	case unix.NFS_SUPER_MAGIC, unix.SMB_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.CEPH_SUPER_MAGIC:
		return kindNetwork
	}
	return ""
}
