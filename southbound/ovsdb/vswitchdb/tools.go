//go:build tools

package vswitchdb

import _ "github.com/ovn-org/libovsdb/cmd/modelgen" // run by generate.sh
