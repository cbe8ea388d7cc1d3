// Package vmnet stands in for github.com/moby/vpnkit/go/pkg/vmnet, which Debian does not have: what RootlessKit's vpnkit driver calls of it, with
// the same bytes on the wire and the same strictness. Written from the protocol (docs/links.md, vmnet), not from that package.
//
// ConnectVif asks for an address by DHCP, as there: a DISCOVER each second without checksums, and the first OFFER is taken; there is no REQUEST.
package vmnet

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/google/uuid"
)

const initLength, responseLength = 49, 258

// Vmnet is a connection whose introduction is done.
type Vmnet struct{ conn net.Conn }

// Vif is one that carries frames.
type Vif struct {
	ClientMAC net.HardwareAddr
	IP        net.IP
	conn      net.Conn
}

// New connects and introduces itself.
func New(ctx context.Context, path string) (*Vmnet, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	hello := append([]byte("VMN3T\x16\x00\x00\x00"), bytes.Repeat([]byte("0"), 40)...)
	// In pieces, as the original does.
	for _, piece := range [][]byte{hello[:5], hello[5:9], hello[9:]} {
		if _, err := conn.Write(piece); err != nil {
			return nil, err
		}
	}
	answer := make([]byte, initLength)
	if _, err := io.ReadFull(conn, answer); err != nil {
		return nil, err
	}
	return &Vmnet{conn}, nil
}

// Close closes it.
func (v *Vmnet) Close() error { return v.conn.Close() }

// ConnectVif makes it the machine of this UUID.
func (v *Vmnet) ConnectVif(name uuid.UUID) (*Vif, error) {
	for _, piece := range [][]byte{{1}, []byte(name.String()), {0, 0, 0, 0}} {
		if _, err := v.conn.Write(piece); err != nil {
			return nil, err
		}
	}
	answer := make([]byte, responseLength)
	if _, err := io.ReadFull(v.conn, answer); err != nil {
		return nil, err
	}
	if answer[0] != 1 {
		return nil, errors.New(string(answer[2 : 2+int(answer[1])]))
	}
	vif := &Vif{ClientMAC: answer[5:11], conn: v.conn}
	return vif, vif.dhcp()
}

// Write sends a frame.
func (v *Vif) Write(frame []byte) error {
	if err := binary.Write(v.conn, binary.LittleEndian, uint16(len(frame))); err != nil {
		return err
	}
	_, err := v.conn.Write(frame)
	return err
}

// Read waits for a frame.
func (v *Vif) Read() ([]byte, error) {
	var length uint16
	if err := binary.Read(v.conn, binary.LittleEndian, &length); err != nil {
		return nil, err
	}
	frame := make([]byte, length)
	_, err := io.ReadFull(v.conn, frame)
	return frame, err
}

func (v *Vif) discover() []byte {
	bootp := make([]byte, 244)
	copy(bootp, []byte{1, 1, 6, 0, 1, 0, 0, 0, 0, 0, 0x80, 0})
	copy(bootp[28:], v.ClientMAC)
	copy(bootp[236:], []byte{0x63, 0x82, 0x53, 0x63, 53, 1, 1, 255})
	frame := append(bytes.Repeat([]byte{255}, 6), v.ClientMAC...)
	length := uint16(28 + len(bootp))
	frame = append(frame, 8, 0, 0x45, 0, byte(length>>8), byte(length), 0x7f, 0x61, 0, 0, 64, 17, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255)
	frame = append(frame, 0, 68, 0, 67, byte((length-20)>>8), byte(length-20), 0, 0)
	return append(frame, bootp...)
}

func (v *Vif) dhcp() error {
	done := make(chan struct{})
	defer close(done)
	go func() {
		for {
			if err := v.Write(v.discover()); err != nil {
				panic(fmt.Errorf("discover: %w", err))
			}
			select {
			case <-done:
				return
			case <-time.After(time.Second):
			}
		}
	}()
	for {
		frame, err := v.Read()
		if err != nil {
			return err
		}
		if len(frame) < 42+243 || frame[12] != 8 || frame[13] != 0 || !bytes.Equal(frame[34:38], []byte{0, 67, 0, 68}) {
			continue
		}
		bootp := frame[42:]
		if bytes.Equal(bootp[240:243], []byte{53, 1, 2}) {
			v.IP = net.IP(bootp[16:20])
			return nil
		}
	}
}
