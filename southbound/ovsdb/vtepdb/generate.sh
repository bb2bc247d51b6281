#!/usr/bin/env bash
# Makes the Go models of the tables and columns of the hardware_vtep schema that
# Weft reads or writes, and of no others: what is not in a model is not
# monitored.
# usage: generate.sh [SCHEMA]   (needs jq; go generate calls it)
set -euo pipefail
schema=${1:-/usr/share/openvswitch/vtep.ovsschema}
out=$(mktemp)
trap 'rm -f "$out"' EXIT
jq '
  def keep($t; $c): {($t): (.tables[$t] | .columns |= with_entries(select(.key as $k | $c | index($k))))};
  .tables = (
    keep("Physical_Switch"; ["name","description","ports","tunnel_ips","tunnels","switch_fault_status"]) +
    keep("Physical_Port"; ["name","vlan_bindings","acl_bindings","port_fault_status"]) +
    keep("Tunnel"; ["local","remote","bfd_params","bfd_status"]) +
    keep("Logical_Switch"; ["name","description","tunnel_key","replication_mode"]) +
    keep("Ucast_Macs_Local"; ["MAC","logical_switch","locator","ipaddr"]) +
    keep("Ucast_Macs_Remote"; ["MAC","logical_switch","locator","ipaddr"]) +
    keep("Mcast_Macs_Remote"; ["MAC","logical_switch","locator_set"]) +
    keep("Physical_Locator_Set"; ["locators"]) +
    keep("Physical_Locator"; ["encapsulation_type","dst_ip","tunnel_key"]) +
    keep("ACL"; ["acl_name","acl_entries","acl_fault_status"]) +
    keep("ACL_entry"; ["sequence","source_ip","source_mask","dest_ip","dest_mask","protocol","source_port_min","source_port_max",
      "dest_port_min","dest_port_max","icmp_type","icmp_code","direction","action","acle_fault_status"]))
' "$schema" >"$out"
go tool modelgen -extended -p vtepdb -o . "$out"
