package lab

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/fabric"
)

// Line is a link that joins border leaves of two labs.
type Line struct {
	Leaves     [2]string
	Preference int // as of intent.Line
	Weight     int // as of intent.Line
}

// JoinLines joins two running labs of different sites by bare links, as Join does
// otherwise: the BGP on them is left to an Interconnect on the controller of each lab,
// with the lines and prefixes that are returned.
func JoinLines(ctx context.Context, labs [2]*State, lines ...Line) (*Joined, error) {
	var leaves [][2]string
	for _, l := range lines {
		leaves = append(leaves, l.Leaves)
	}
	j, err := join(labs, leaves)
	if err != nil {
		return nil, err
	}
	for i, s := range labs {
		p, err := atSite(fabric.Params{}, s.Site)
		if err != nil {
			return nil, err
		}
		j.Prefixes[1-i] = []netip.Prefix{p.Racks, p.VTEPs}
	}
	used := [2]map[string]int{{}, {}}
	between := joinBorders
	for n, l := range lines {
		var ends [2]End
		for i := range labs {
			ends[i] = End{Node: l.Leaves[i], Interface: linePort(used[i][l.Leaves[i]])}
			used[i][l.Leaves[i]]++
		}
		if err := joinLink(labs, ends, labs[0].mtuOf(l.Leaves[0])); err != nil {
			return nil, err
		}
		for i, s := range labs {
			j.Lines[i] = append(j.Lines[i], intent.Line{
				Name: fmt.Sprintf("line%d", n+1), Node: ends[i].Node, Interface: ends[i].Interface,
				Address: netip.PrefixFrom(pair(between)[i], between.Bits()), Peer: pair(between)[1-i],
				ASN: labs[1-i].specOf(ends[1-i].Node).ASN, Preference: l.Preference, Weight: l.Weight,
			})
			if err := s.startBFD(ctx, ends[i].Node); err != nil {
				return nil, err
			}
		}
		between = next(between)
	}
	return j, nil
}

// linePort names the interface of a leaf's n-th line, from 0 on.
func linePort(n int) string {
	if n == 0 {
		return JoinPort
	}
	return fmt.Sprint(JoinPort, n+1)
}

// startBFD runs a switch's bfdd where the fabric has no BFD itself.
func (s *State) startBFD(ctx context.Context, node string) error {
	n, err := s.Node(node)
	if err != nil {
		return err
	}
	if slices.Contains(n.Router.Daemons, "bfdd") || slices.ContainsFunc(s.Processes, func(p Process) bool { return p.Node == node && p.Name == "bfdd" }) {
		return nil
	}
	if err := os.WriteFile(filepath.Join(s.NodeDir(node), "bfdd.conf"), []byte("hostname "+node+"\n"), 0o644); err != nil {
		return err
	}
	return (&run{state: s, progress: silent{}}).startFRR(ctx, n, "bfdd")
}
