#!/usr/bin/env bash
# Makes the Go models of the tables and columns of the Open_vSwitch schema that
# Weft reads or writes, and of no others: what is not in a model is not
# monitored, and some columns change every few seconds.
# usage: generate.sh [SCHEMA]   (needs jq; go generate calls it)
set -euo pipefail
schema=${1:-/usr/share/openvswitch/vswitch.ovsschema}
out=$(mktemp)
trap 'rm -f "$out"' EXIT
jq '
  def keep($t; $c): {($t): (.tables[$t] | .columns |= with_entries(select(.key as $k | $c | index($k))))};
  .tables = (
    keep("Open_vSwitch"; ["bridges","external_ids","ovs_version","system_type"]) +
    keep("Bridge"; ["name","ports","controller","datapath_type","external_ids","fail_mode","other_config","protocols"]) +
    keep("Port"; ["name","interfaces","external_ids"]) +
    keep("Interface"; ["name","type","options","ofport","ofport_request","external_ids","other_config","error","link_state","admin_state","mac_in_use","mtu"]) +
    keep("Controller"; ["target","connection_mode","external_ids"]))
  | .tables |= with_entries(.value.columns |= with_entries(
      if .value.type | type == "object" then .value.type |= (
        (if (.key | type) == "object" then .key |= (del(.refTable, .refType)) else . end) |
        (if (.value | type) == "object" then .value |= (del(.refTable, .refType)) else . end))
      else . end))
' "$schema" >"$out"
go tool modelgen -extended -p vswitchdb -o . "$out"
