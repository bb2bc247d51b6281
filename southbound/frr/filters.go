package frr

import "github.com/weft-sdn/weft/fabric/device"

// filters has the prefix lists. FRR keeps one for each IP version under a name;
// what a list does not permit it denies.
func filters(list []device.Filter) string {
	var l lines
	for _, f := range list {
		seq := map[string]int{}
		for _, m := range f.Permit {
			ip := family(m.Prefix.Addr())
			seq[ip] += 5
			length := ""
			if m.MinLength > m.Prefix.Bits() {
				length = " ge " + itoa(m.MinLength)
			}
			if m.MaxLength > m.Prefix.Bits() && (m.MaxLength < m.Prefix.Addr().BitLen() || length == "") {
				length += " le " + itoa(m.MaxLength)
			}
			l.add("%s prefix-list %s seq %d permit %s%s", ip, f.Name, seq[ip], m.Prefix, length)
		}
	}
	return l.String()
}
