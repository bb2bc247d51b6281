package lab

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Tag is the 802.1Q VLAN of all frames of a server's interface.
type Tag struct {
	Interface string `json:"interface"`
	VLAN      uint16 `json:"vlan"` // 1 to 4094
}

// TagFrames makes an interface of the current namespace speak 802.1Q: what the
// kernel sends gets the tag, what comes with it loses it, and what comes with
// another or with none is dropped, as on a VLAN interface. A kernel may have
// neither 802.1Q devices nor tc's vlan action, so two eBPF programs at tc's hooks
// do it. Packet sockets see the frames of a tagged interface as everywhere on
// Linux: the tag is beside the data (packet(7), PACKET_AUXDATA).
func TagFrames(t Tag) error {
	link, err := netlink.LinkByName(t.Interface)
	if err != nil {
		return fmt.Errorf("find %s: %w", t.Interface, err)
	}
	at := link.Attrs().Index
	err = netlink.QdiscReplace(&netlink.GenericQdisc{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: at, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT},
		QdiscType:  "clsact",
	})
	if err != nil {
		return fmt.Errorf("tag %s with VLAN %d: tc qdisc clsact: %w", t.Interface, t.VLAN, err)
	}
	for _, h := range []struct {
		name    string
		parent  uint32
		program []instruction
	}{
		{"push", netlink.HANDLE_MIN_EGRESS, pushTag(t.VLAN)},
		{"pop", netlink.HANDLE_MIN_INGRESS, popTag(t.VLAN)},
	} {
		fd, err := loadClassifier(h.program)
		if err != nil {
			return fmt.Errorf("tag %s with VLAN %d: load eBPF program: %w", t.Interface, t.VLAN, err)
		}
		err = netlink.FilterReplace(&netlink.BpfFilter{
			FilterAttrs: netlink.FilterAttrs{LinkIndex: at, Parent: h.parent, Handle: 1, Protocol: unix.ETH_P_ALL, Priority: 1},
			Fd:          fd, Name: "weft-" + h.name, DirectAction: true,
		})
		unix.Close(fd) // the filter holds the program
		if err != nil {
			return fmt.Errorf("tag %s with VLAN %d: tc filter: %w", t.Interface, t.VLAN, err)
		}
	}
	return nil
}

// instruction is one of eBPF's (RFC 9669 section 3.1): opcode, registers (the
// destination's in the low half), offset and immediate value, little-endian as
// the kernel's struct bpf_insn on the machines that we run on.
type instruction struct {
	op, regs  uint8
	off       int16
	immediate int32
}

// Opcodes (RFC 9669 section 4) and what the kernel's headers name.
const (
	opMoveImm   = 0xb7 // BPF_ALU64 | BPF_MOV | BPF_K
	opAndImm    = 0x57 // BPF_ALU64 | BPF_AND | BPF_K
	opLoadWord  = 0x61 // BPF_LDX | BPF_MEM | BPF_W
	opJumpEqual = 0x15 // BPF_JMP | BPF_JEQ | BPF_K
	opJumpOther = 0x55 // BPF_JMP | BPF_JNE | BPF_K
	opCall      = 0x85
	opExit      = 0x95

	funcVLANPush = 18 // bpf_skb_vlan_push(skb, protocol, tci)
	funcVLANPop  = 19 // bpf_skb_vlan_pop(skb)

	skbVLANPresent = 20 // offsets in struct __sk_buff
	skbVLANTCI     = 24

	actShot = 2 // TC_ACT_SHOT; TC_ACT_OK is 0, as is the functions' success
)

// pushTag is the program for frames that leave.
func pushTag(vlan uint16) []instruction {
	// The protocol is in network byte order.
	protocol := binary.NativeEndian.Uint16([]byte{0x81, 0x00})
	return []instruction{
		{opMoveImm, 2, 0, int32(protocol)},
		{opMoveImm, 3, 0, int32(vlan)},
		{opCall, 0, 0, funcVLANPush},
		{opJumpEqual, 0, 1, 0},
		{opMoveImm, 0, 0, actShot},
		{opExit, 0, 0, 0},
	}
}

// popTag is the program for frames that come.
func popTag(vlan uint16) []instruction {
	return []instruction{
		{opLoadWord, 2 | 1<<4, skbVLANPresent, 0},
		{opJumpEqual, 2, 5, 0},
		{opLoadWord, 2 | 1<<4, skbVLANTCI, 0},
		{opAndImm, 2, 0, 0xfff},
		{opJumpOther, 2, 2, int32(vlan)},
		{opCall, 0, 0, funcVLANPop},
		{opJumpEqual, 0, 1, 0},
		{opMoveImm, 0, 0, actShot},
		{opExit, 0, 0, 0},
	}
}

// loadClassifier gives a program to the kernel (bpf(2), BPF_PROG_LOAD).
func loadClassifier(program []instruction) (fd int, err error) {
	license := []byte{0} // none: the functions that are called need none
	attr := struct {
		kind, count      uint32
		program, license unsafe.Pointer
		logLevel         uint32
		logSize          uint32
		log              unsafe.Pointer
		version, flags   uint32
	}{kind: unix.BPF_PROG_TYPE_SCHED_CLS, count: uint32(len(program)), program: unsafe.Pointer(&program[0]), license: unsafe.Pointer(&license[0])}
	r, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_LOAD, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	runtime.KeepAlive(program)
	runtime.KeepAlive(license)
	if errno != 0 {
		return 0, errno
	}
	return int(r), nil
}
