// Package vswitchdb has the models of the Open_vSwitch database
// (ovs-vswitchd.conf.db(5)), generated from the schema.
package vswitchdb

//go:generate ./generate.sh
