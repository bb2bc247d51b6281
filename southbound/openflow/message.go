package openflow

import (
	"encoding/binary"
	"fmt"
)

// version is OpenFlow 1.5.
const version = 6

// Message types (section 7.1.1).
const (
	typeHello            = 0
	typeError            = 1
	typeEchoRequest      = 2
	typeEchoReply        = 3
	typeFeaturesRequest  = 5
	typeFeaturesReply    = 6
	typeSetConfig        = 9
	typePacketIn         = 10
	typePacketOut        = 13
	typeFlowMod          = 14
	typeMultipartRequest = 18
	typeMultipartReply   = 19
	typeBarrierRequest   = 20
	typeBarrierReply     = 21
	typeMeterMod         = 29
	typeBundleControl    = 33
	typeBundleAdd        = 34
)

const headerLen = 8

// header starts a message; finish sets its length.
func header(b []byte, kind uint8, xid uint32) []byte {
	b = append(b, version, kind, 0, 0)
	return binary.BigEndian.AppendUint32(b, xid)
}

func finish(b []byte, at int) []byte {
	binary.BigEndian.PutUint16(b[at+2:], uint16(len(b)-at))
	return b
}

func simple(kind uint8, xid uint32, body ...byte) []byte {
	return finish(append(header(nil, kind, xid), body...), 0)
}

// hello offers version 1.5 only, by the version bitmap (section 7.5.1).
func hello(xid uint32) []byte {
	return simple(typeHello, xid, 0, 1, 0, 8, 0, 0, 0, 1<<version)
}

// Multipart types (section 7.3.5).
const (
	multipartFlowDesc    = 1
	multipartFlowMonitor = 16
)

func multipart(kind uint16, xid uint32) []byte {
	b := header(nil, typeMultipartRequest, xid)
	b = binary.BigEndian.AppendUint16(b, kind)
	return append(b, 0, 0, 0, 0, 0, 0)
}

// flowDescRequest asks for the flows of all tables with a cookie.
func flowDescRequest(xid uint32, cookie, mask uint64) []byte {
	b := multipart(multipartFlowDesc, xid)
	b = append(b, TableAll, 0, 0, 0)
	b = binary.BigEndian.AppendUint32(b, PortAny)
	b = binary.BigEndian.AppendUint32(b, 0xffffffff)
	b = append(b, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint64(b, cookie)
	b = binary.BigEndian.AppendUint64(b, mask)
	return finish(Match{}.appendStruct(b), 0)
}

// Flags of a flow monitor: additions, removals and changes, without
// instructions; our own in short form.
const monitorFlags = 1<<1 | 1<<2 | 1<<3

// flowMonitorRequest asks for the changes of all flows.
func flowMonitorRequest(xid, monitor uint32) []byte {
	b := multipart(multipartFlowMonitor, xid)
	b = binary.BigEndian.AppendUint32(b, monitor)
	b = binary.BigEndian.AppendUint32(b, PortAny)
	b = binary.BigEndian.AppendUint32(b, 0xffffffff)
	b = binary.BigEndian.AppendUint16(b, monitorFlags)
	b = append(b, TableAll, 0) // command: add the monitor
	return finish(Match{}.appendStruct(b), 0)
}

// Bundle control (section 7.3.9).
const (
	bundleOpen     = 0
	bundleOpened   = 1
	bundleCommit   = 4
	bundleDone     = 5
	bundleDiscard  = 6
	bundleFlags    = 1 | 2 // atomic, ordered
	bundleAddExtra = headerLen + 8
)

func bundleControl(xid, bundle uint32, kind uint16) []byte {
	b := header(nil, typeBundleControl, xid)
	b = binary.BigEndian.AppendUint32(b, bundle)
	b = binary.BigEndian.AppendUint16(b, kind)
	b = binary.BigEndian.AppendUint16(b, bundleFlags)
	return finish(b, 0)
}

// appendBundleAdd wraps a flow-mod; both carry the same transaction id.
func appendBundleAdd(b []byte, xid, bundle uint32, m FlowMod) []byte {
	at := len(b)
	b = header(b, typeBundleAdd, xid)
	b = binary.BigEndian.AppendUint32(b, bundle)
	b = append(b, 0, 0, 0, bundleFlags)
	b = m.AppendTo(b, xid)
	return finish(b, at)
}

// Features are what a switch says of itself.
type Features struct {
	DatapathID uint64
	Tables     uint8
}

func readFeatures(body []byte) (Features, error) {
	if len(body) < 24 {
		return Features{}, errShort
	}
	return Features{DatapathID: binary.BigEndian.Uint64(body), Tables: body[12]}, nil
}

// Error is an error message of a switch (section 7.5.4).
type Error struct {
	Type, Code uint16
	Request    uint8 // type of the message that was refused
}

var errorTypes = map[uint16]string{
	0: "hello failed", 1: "bad request", 2: "bad action", 3: "bad instruction", 4: "bad match",
	5: "flow-mod failed", 6: "group-mod failed", 7: "port-mod failed", 8: "table-mod failed",
	9: "queue operation failed", 10: "switch configuration failed", 11: "role request failed",
	12: "meter-mod failed", 13: "table features failed", 14: "bad property", 15: "asynchronous configuration failed",
	16: "flow monitor failed", 17: "bundle failed", 0xffff: "experimenter error",
}

// The codes that our messages can meet.
var errorCodes = map[[2]uint16]string{
	{1, 0}: "version not supported", {1, 1}: "type not supported", {1, 5}: "not permitted", {1, 6}: "wrong length",
	{2, 0}: "unknown action", {2, 1}: "wrong length", {2, 4}: "bad output port", {2, 5}: "bad argument",
	{2, 7}: "too many actions", {2, 10}: "inconsistent with the match", {2, 13}: "field can't be set",
	{2, 14}: "wrong length of the field", {2, 15}: "wrong argument of the field",
	{3, 0}: "unknown instruction", {3, 2}: "bad table", {3, 3}: "unsupported metadata mask",
	{4, 1}: "wrong length", {4, 6}: "unknown field", {4, 7}: "bad value", {4, 8}: "bad mask", {4, 9}: "prerequisite missing", {4, 10}: "field twice",
	{5, 0}: "unknown", {5, 1}: "table full", {5, 2}: "bad table", {5, 3}: "overlap", {5, 4}: "not permitted",
	{12, 1}: "the meter exists", {12, 2}: "invalid meter", {12, 3}: "unknown meter", {12, 4}: "bad command", {12, 5}: "bad flags", {12, 6}: "bad rate", {12, 7}: "bad burst", {12, 8}: "bad band", {12, 10}: "out of meters", {12, 11}: "out of bands",
	{16, 0}: "unknown", {16, 1}: "the monitor exists", {17, 3}: "timeout", {17, 4}: "too many", {17, 8}: "a message in it was refused", {17, 9}: "message too long",
}

// Error writes the switch's words.
func (e *Error) Error() string {
	t := errorTypes[e.Type]
	if t == "" {
		t = fmt.Sprintf("error of type %d", e.Type)
	}
	c := errorCodes[[2]uint16{e.Type, e.Code}]
	if c == "" {
		c = fmt.Sprintf("code %d", e.Code)
	}
	return t + ": " + c
}

func readError(body []byte) (*Error, error) {
	if len(body) < 4 {
		return nil, errShort
	}
	e := &Error{Type: binary.BigEndian.Uint16(body), Code: binary.BigEndian.Uint16(body[2:])}
	if len(body) >= 6 {
		e.Request = body[5]
	}
	return e, nil
}

// readMultipart splits a multipart reply.
func readMultipart(body []byte) (kind uint16, more bool, rest []byte, err error) {
	if len(body) < 8 {
		return 0, false, nil, errShort
	}
	return binary.BigEndian.Uint16(body), body[3]&1 == 1, body[8:], nil
}
