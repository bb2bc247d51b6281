package lab

import (
	"fmt"
	"hash/fnv"
	"net/netip"

	"github.com/weft-sdn/weft/fabric"
	"github.com/weft-sdn/weft/ipam"
	"github.com/weft-sdn/weft/topology"
)

// Sites is how many labs may have a place of their own among the addresses and AS
// numbers, so that their fabrics can be joined.
const Sites = 4

// siteASNs is how many AS numbers lie between those of two sites.
const siteASNs = 20_000_000

// atSite gives parameters the part of their pools that is a site's, from 1 on. Site 0
// has the whole of them: such a lab can't be joined, for it may use any part.
func atSite(p fabric.Params, site int) (fabric.Params, error) {
	if site < 0 || site > Sites {
		return fabric.Params{}, fmt.Errorf("site %d is outside 0..%d", site, Sites)
	}
	if site == 0 {
		return p, nil
	}
	p = p.Defaults()
	for _, n := range []*uint32{&p.ASNs.Superspine, &p.ASNs.Spine, &p.ASNs.Border, &p.ASNs.Leaf} {
		*n += uint32(site-1) * siteASNs
	}
	for _, pool := range []*netip.Prefix{&p.Loopbacks, &p.VTEPs, &p.P2P, &p.Racks, &p.ColourPool} {
		*pool = quarter(*pool, site-1)
	}
	if p.Loopbacks6.IsValid() { // P2P6 follows P2P
		p.Loopbacks6 = quarter(p.Loopbacks6, site-1)
	}
	return p, nil
}

// quarter is the n-th quarter of a prefix.
func quarter(p netip.Prefix, n int) netip.Prefix {
	q, err := ipam.SubPrefix(p, p.Bits()+2, uint64(n))
	if err != nil { // the pools of fabric.Params are all large enough
		panic(err)
	}
	return q
}

// PlanSite is Plan for one of several labs that are to be joined: each has a site
// of its own.
func PlanSite(file *topology.File, site int) (*State, []string, error) {
	return planSite(file, site, func(*fabric.Params) {})
}

// PlanChange is PlanSite for a lab that runs: of its site, and with as many colours as it
// was brought up with.
func PlanChange(file *topology.File, running *State) (*State, []string, error) {
	return planSite(file, running.Site, func(p *fabric.Params) {
		if f := running.Fabric; f != nil && p.Colours > 0 {
			p.Colours = f.Spec.Colours
		}
	})
}

func planSite(file *topology.File, site int, adapt func(*fabric.Params)) (*State, []string, error) {
	params, err := fabric.ParamsOf(file.Graph)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", file.Source(), err)
	}
	adapt(&params)
	if params, err = atSite(params, site); err != nil {
		return nil, nil, err
	}
	s, notes, err := plan(file, params)
	if err == nil {
		s.Site = site
	}
	return s, notes, err
}

// controllerASN is the AS of the lab's controller.
func (s *State) controllerASN() uint32 { return 64512 + uint32(max(s.Site-1, 0)) }

// controllerID is the BGP identifier of the lab's controller: made from the lab's
// name, for several labs run on one host.
func (s *State) controllerID() netip.Addr {
	h := fnv.New32a()
	_, _ = h.Write([]byte("weft lab " + s.Name))
	n := h.Sum32()
	return netip.AddrFrom4([4]byte{240 | byte(n>>24)&7, byte(n >> 16), byte(n >> 8), byte(n) | 1}) // no host has one of 240/5
}
