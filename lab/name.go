package lab

import (
	"fmt"
	"regexp"
)

// Prefix starts the name of every namespace of a lab.
const Prefix = "weft-"

// Parts of a lab that are no nodes of its topology but have a namespace.
const (
	controllerNode = "controller"
	mgmtNode       = "mgmt"
)

var (
	nameRE  = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_.-]{0,30}[A-Za-z0-9])?$`)
	nodeRE  = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$`)
	ifaceRE = regexp.MustCompile(`^[^\s/:]{1,15}$`)
)

// Namespace is the network namespace of a lab's node.
func Namespace(lab, node string) string { return Prefix + lab + "-" + node }

// CheckName tells what is wrong with the name of a lab.
func CheckName(lab string) error {
	if !nameRE.MatchString(lab) {
		return fmt.Errorf("%q can't name a lab: use 1 to 32 letters, digits, '-', '_' or '.', with a letter or digit at both ends", lab)
	}
	return nil
}

func checkNode(node string) error {
	if !nodeRE.MatchString(node) {
		return fmt.Errorf("%q can't name a node: use 1 to 63 letters, digits, '-', '_' or '.', with a letter or digit at both ends", node)
	}
	if node == controllerNode || node == mgmtNode {
		return fmt.Errorf("node %q: the lab uses this name for its own %s: give the node another", node, node)
	}
	return nil
}

func checkInterface(node, iface string) error {
	if !ifaceRE.MatchString(iface) || iface == "." || iface == ".." || iface == "lo" {
		return fmt.Errorf("%s: %q can't name an interface: the kernel takes 1 to 15 characters without space, '/' and ':', and lo is taken", node, iface)
	}
	return nil
}
