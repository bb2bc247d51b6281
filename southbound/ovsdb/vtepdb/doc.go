// Package vtepdb has the models of the hardware_vtep database (vtep(5)),
// generated from the schema.
package vtepdb

//go:generate ./generate.sh
