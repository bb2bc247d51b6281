// Package lldp reads and writes frames of the Link Layer Discovery Protocol (IEEE
// 802.1AB-2016), by which a port tells its neighbour whose it is.
//
// A port of ours says its switch's name as chassis ID (subtype "locally assigned")
// and as system name, its own name as port ID (subtype "interface name"), for how
// long that holds, and the longest frame that it takes (IEEE 802.3-2018 clause 79).
// Of others every subtype is read; a device's name is its system name, or what its
// chassis ID says when it has none.
//
// The package is pure: southbound/linux has the sockets.
package lldp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unicode"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/weft-sdn/weft/controller/intent"
)

// EtherType of LLDP, and Destination, the group of the nearest bridge: no bridge
// hands it on (IEEE 802.1AB-2016 clause 7.1).
const EtherType = 0x88cc

// Destination is described with EtherType.
var Destination = intent.MAC{0x01, 0x80, 0xc2, 0x00, 0x00, 0x0e}

// Frame is what a port says of itself.
type Frame struct {
	Chassis     string // chassis ID as text: a MAC or network address, or a name
	Port        string // port ID as text
	System      string // system name; may be empty
	Description string // of the port; may be empty
	// TTL is how long this holds, in whole seconds. Zero takes back what was said.
	TTL time.Duration
	// MaxFrame is the longest Ethernet frame that the port takes, header and FCS
	// included, in bytes; zero when it is not said.
	MaxFrame int
}

// Device is the name by which the neighbour is known.
func (f Frame) Device() string {
	if f.System != "" {
		return f.System
	}
	return f.Chassis
}

// longest is what a string TLV may have (clause 8.5.6).
const longest = 255

// Encode is the whole Ethernet frame, sent from a MAC address.
func (f Frame) Encode(from intent.MAC) ([]byte, error) {
	if f.Chassis == "" || f.Port == "" {
		return nil, errors.New("encode LLDP: chassis and port need a name")
	}
	value := func(t layers.LLDPTLVType, v []byte) layers.LinkLayerDiscoveryValue {
		return layers.LinkLayerDiscoveryValue{Type: t, Length: uint16(len(v)), Value: v}
	}
	d := &layers.LinkLayerDiscovery{
		ChassisID: layers.LLDPChassisID{Subtype: layers.LLDPChassisIDSubTypeLocal, ID: short(f.Chassis)},
		PortID:    layers.LLDPPortID{Subtype: layers.LLDPPortIDSubtypeIfaceName, ID: short(f.Port)},
		TTL:       uint16(min(f.TTL/time.Second, 1<<16-1)),
	}
	if f.Description != "" {
		d.Values = append(d.Values, value(layers.LLDPTLVPortDescription, short(f.Description)))
	}
	if f.System != "" {
		d.Values = append(d.Values, value(layers.LLDPTLVSysName, short(f.System)))
	}
	if f.MaxFrame > 0 {
		oui := binary.BigEndian.AppendUint32(nil, uint32(layers.IEEEOUI8023)<<8|uint32(layers.LLDP8023SubtypeMTU))
		d.Values = append(d.Values, value(layers.LLDPTLVOrgSpecific, binary.BigEndian.AppendUint16(oui, uint16(min(f.MaxFrame, 1<<16-1)))))
	}
	b := gopacket.NewSerializeBuffer()
	eth := &layers.Ethernet{SrcMAC: from[:], DstMAC: Destination[:], EthernetType: EtherType}
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{}, d); err != nil {
		return nil, fmt.Errorf("encode LLDP: %w", err)
	}
	body := append([]byte(nil), b.Bytes()...)
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{}, eth, gopacket.Payload(body)); err != nil {
		return nil, fmt.Errorf("encode LLDP: %w", err)
	}
	return b.Bytes(), nil
}

func short(s string) []byte { return []byte(s[:min(len(s), longest)]) }

// Decode reads an Ethernet frame. What a neighbour calls itself is made printable.
// It fails when the frame is none of LLDP, ends early, or lacks what clause 8.2 asks
// for: chassis, port and TTL, in this order.
func Decode(frame []byte) (Frame, error) {
	p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.DecodeOptions{NoCopy: true})
	if e := p.ErrorLayer(); e != nil {
		return Frame{}, fmt.Errorf("decode LLDP: %w", e.Error())
	}
	d, ok := p.Layer(layers.LayerTypeLinkLayerDiscovery).(*layers.LinkLayerDiscovery)
	if !ok {
		return Frame{}, errors.New("decode LLDP: the frame is of another protocol")
	}
	if err := order(d.Contents); err != nil {
		return Frame{}, fmt.Errorf("decode LLDP: %w", err)
	}
	f := Frame{Chassis: chassis(d.ChassisID), Port: port(d.PortID), TTL: time.Duration(d.TTL) * time.Second}
	if info, ok := p.Layer(layers.LayerTypeLinkLayerDiscoveryInfo).(*layers.LinkLayerDiscoveryInfo); ok {
		f.System, f.Description = printable(info.SysName), printable(info.PortDescription)
		for _, t := range info.OrgTLVs {
			if t.OUI == layers.IEEEOUI8023 && t.SubType == layers.LLDP8023SubtypeMTU && len(t.Info) >= 2 {
				f.MaxFrame = int(binary.BigEndian.Uint16(t.Info))
			}
		}
	}
	if f.Chassis == "" || f.Port == "" {
		return Frame{}, errors.New("decode LLDP: the neighbour has no name")
	}
	return f, nil
}

// order checks the first three TLVs, and that none of them comes twice.
func order(tlvs []byte) error {
	for at, want := 0, 1; at+2 <= len(tlvs); want++ {
		t := int(tlvs[at] >> 1)
		if want <= 3 && t != want || want > 3 && t >= 1 && t <= 3 {
			return fmt.Errorf("TLV %d is of type %d: chassis, port and TTL come first and once", want, t)
		}
		if t == int(layers.LLDPTLVEnd) {
			break
		}
		at += 2 + int(tlvs[at]&1)<<8 + int(tlvs[at+1])
	}
	return nil
}

func chassis(c layers.LLDPChassisID) string {
	switch c.Subtype {
	case layers.LLDPChassisIDSubTypeMACAddr:
		return hardware(c.ID)
	case layers.LLDPChassisIDSubTypeNetworkAddr:
		return network(c.ID)
	}
	return printable(string(c.ID))
}

func port(p layers.LLDPPortID) string {
	switch p.Subtype {
	case layers.LLDPPortIDSubtypeMACAddr:
		return hardware(p.ID)
	case layers.LLDPPortIDSubtypeNetworkAddr:
		return network(p.ID)
	}
	return printable(string(p.ID))
}

func hardware(id []byte) string {
	if len(id) == len(intent.MAC{}) {
		return intent.MAC(id).String()
	}
	return fmt.Sprintf("%x", id)
}

// network is an address behind its IANA family.
func network(id []byte) string {
	if a, ok := netip.AddrFromSlice(id[min(1, len(id)):]); ok {
		return a.String()
	}
	return fmt.Sprintf("%x", id)
}

// printable leaves out what a terminal must not get from a neighbour.
func printable(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s[:min(len(s), longest)]))
}
