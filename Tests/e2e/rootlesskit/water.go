// Package water stands in for github.com/songgao/water, which Debian does not have: a tap that exists already, opened by its name.
package water

import (
	"os"
	"syscall"
	"unsafe"
)

// TAP is the only kind.
const TAP = 1

// PlatformSpecificParams has the name.
type PlatformSpecificParams struct{ Name string }

// Config is what New takes.
type Config struct {
	DeviceType int
	PlatformSpecificParams
}

// Interface is an open tap.
type Interface struct {
	*os.File
	name string
}

// Name is its name.
func (i *Interface) Name() string { return i.name }

// New opens it.
func New(config Config) (*Interface, error) {
	fd, err := syscall.Open("/dev/net/tun", syscall.O_RDWR|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	var request [40]byte
	copy(request[:15], config.Name)
	*(*uint16)(unsafe.Pointer(&request[16])) = syscall.IFF_TAP | syscall.IFF_NO_PI
	if _, _, code := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), syscall.TUNSETIFF, uintptr(unsafe.Pointer(&request[0]))); code != 0 {
		return nil, code
	}
	return &Interface{os.NewFile(uintptr(fd), "tap"), config.Name}, nil
}
