package overlay

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/weft-sdn/weft/controller/intent"
)

// Palette has the colours of VTEPs: further addresses at which their tunnels end,
// colour 1 first (intent.NodeSpec.Colours). It never changes; nil has none.
type Palette struct {
	colours map[netip.Addr][]netip.Addr
	vteps   map[netip.Addr]netip.Addr // by colour
}

// NewPalette makes one of the colours of each VTEP, which are not copied.
func NewPalette(colours map[netip.Addr][]netip.Addr) *Palette {
	p := &Palette{colours: colours, vteps: map[netip.Addr]netip.Addr{}}
	for vtep, list := range colours {
		for _, a := range list {
			p.vteps[a] = vtep
		}
	}
	return p
}

// Equal reports whether two palettes say the same.
func (p *Palette) Equal(o *Palette) bool {
	if p == nil || o == nil {
		return p.len() == o.len()
	}
	return p == o || maps.EqualFunc(p.colours, o.colours, func(a, b []netip.Addr) bool { return slices.Equal(a, b) })
}

func (p *Palette) len() int {
	if p == nil {
		return 0
	}
	return len(p.colours)
}

// At is a colour of a VTEP, from 1; the VTEP itself when it has none such.
func (p *Palette) At(colour int, vtep netip.Addr) netip.Addr {
	if p != nil && colour > 0 {
		if list := p.colours[vtep]; colour <= len(list) {
			return list[colour-1]
		}
	}
	return vtep
}

// VTEP is the VTEP that an address is a colour of, and the address itself when it is
// none of any.
func (p *Palette) VTEP(a netip.Addr) netip.Addr {
	if p != nil {
		if vtep, ok := p.vteps[a]; ok {
			return vtep
		}
	}
	return a
}

// Hue is how a VNI is coloured. Two that are equal colour every VTEP the same. The
// zero value colours none.
type Hue struct {
	colour  int // from 1; 0 for none
	palette *Palette
}

// At is the address at which a VTEP is sent what is unicast: its colour, or its own
// address when it has none.
func (h Hue) At(vtep netip.Addr) netip.Addr { return h.palette.At(h.colour, vtep) }

// Colouring says at which of its addresses a VTEP is sent what is unicast in a VNI, so
// that the underlay can lead one tenant's packets otherwise than another's. Segment
// tables know VTEPs by their own addresses only; it is applied where they become flows
// and routes. What is flooded is never coloured, and of all that is sent the source is
// the VTEP's own address. It never changes; nil colours nothing.
type Colouring struct {
	palette *Palette
	colours map[intent.VNI]int
}

// NewColouring makes one of the colours of VNIs, from 1. The map is not copied.
func NewColouring(p *Palette, colours map[intent.VNI]int) *Colouring {
	return &Colouring{palette: p, colours: colours}
}

// Equal reports whether two colourings say the same.
func (c *Colouring) Equal(o *Colouring) bool {
	return c.Palette().Equal(o.Palette()) && maps.Equal(c.all(), o.all())
}

func (c *Colouring) all() map[intent.VNI]int {
	if c == nil {
		return nil
	}
	return c.colours
}

// Palette has the colours of all VTEPs, in use or not.
func (c *Colouring) Palette() *Palette {
	if c == nil {
		return nil
	}
	return c.palette
}

// Of is how a VNI is coloured.
func (c *Colouring) Of(v intent.VNI) Hue {
	if n := c.all()[v]; n > 0 && c.palette != nil {
		return Hue{n, c.palette}
	}
	return Hue{}
}

// At is the address at which a VTEP is sent what is unicast in a VNI.
func (c *Colouring) At(v intent.VNI, vtep netip.Addr) netip.Addr { return c.Of(v).At(vtep) }

// Colour is the number of a VNI's colour, from 1; 0 for none.
func (c *Colouring) Colour(v intent.VNI) int { return c.all()[v] }

// VTEP is the VTEP that an address is a colour of, in use or not, and the address
// itself when it is none of any.
func (c *Colouring) VTEP(a netip.Addr) netip.Addr { return c.Palette().VTEP(a) }

// Changed lists the VNIs that two colourings colour otherwise, or might, in no order.
func (c *Colouring) Changed(o *Colouring) []intent.VNI {
	if c == o {
		return nil
	}
	var out []intent.VNI
	for v := range c.all() {
		if c.Of(v) != o.Of(v) {
			out = append(out, v)
		}
	}
	for v := range o.all() {
		if c.Of(v) == (Hue{}) && o.Of(v) != (Hue{}) {
			out = append(out, v)
		}
	}
	return out
}
