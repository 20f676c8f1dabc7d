package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// memory is where Linux keeps files in memory.
const memory = "/dev/shm"

// roomNeeded is what a rehearsal may write: etcd's files are 120 MB at once, the
// logs of a long one some hundred.
const roomNeeded = 2 << 30

// parentDir returns where the working folder is made: where the user says, else in
// memory if there is room, else among the temporary files. On a disk that is busy
// with something else a write can block for seconds, and with it the service that
// wrote: that would be found in the report, and is none of the platform's doing.
func parentDir() string {
	if os.Getenv("TMPDIR") != "" {
		return os.TempDir()
	}
	var fs unix.Statfs_t
	if unix.Statfs(memory, &fs) != nil || fs.Type != unix.TMPFS_MAGIC || fs.Bavail*uint64(fs.Bsize) < roomNeeded || unix.Access(memory, unix.W_OK) != nil {
		return os.TempDir()
	}
	return memory
}
