package evpn

import (
	"github.com/weft-sdn/weft/controller/intent"
	table "github.com/weft-sdn/weft/overlay/evpn"
)

// appendLabel2 gives the MAC/IP route that begins at start, and is the last of
// the NLRI, its second label: the L3VNI by which its address is routed (RFC 9135
// section 5.1). Zero adds none.
func appendLabel2(b []byte, start int, l3 intent.VNI) []byte {
	if l3 == 0 {
		return b
	}
	b[start+1] += 3
	return appendLabel(b, l3)
}

// fitsLabel2 reports whether a route may have the L3VNI that it has: only that of
// an address, with the MAC to which what is routed there is sent.
func fitsLabel2(r *table.Route) bool {
	return r.L3VNI == 0 || r.L3VNI <= intent.MaxVNI && r.Type == table.MACIP && r.IP.IsValid() && !r.RouterMAC.IsZero()
}
