#!/usr/bin/env bash
# A fabric of 4 spines, 8 leaves, 16 hypervisors and 64 VMs: brought up,
# programmed and checked, with the time of each phase. Needs root.
#   lab/bench.sh [WEFT-BINARY]
set -euo pipefail
weft=$(realpath "${1:-bin/weft}")
[ "$(id -u)" = 0 ] || { echo "labs need root, for network namespaces: run it with sudo" >&2; exit 1; }
dir=$(mktemp -d)
file=$dir/dc.clab.yml
finish() {
  status=$?
  trap - EXIT
  phase "down" "$weft" lab down "$file" || status=1
  rm -rf "$dir"
  exit $status
}
trap finish EXIT
trap 'exit 130' INT TERM
phase() { # NAME COMMAND...
  local began=$EPOCHREALTIME name=$1
  shift
  "$@"
  echo "== $name: $(awk -v a="$began" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.2f", b - a }') s"
}

"$weft" lab generate --name weft-bench --spines 4 --leaves 8 --hypervisors 2 --hosts 4 > "$file"
"$weft" lab intent "$file" > "$dir/tenants.yaml"
phase "up" "$weft" lab up "$file"
WEFT_SERVER=$("$weft" lab status weft-bench -o json | jq -r .controller)
export WEFT_SERVER
apply() { "$weft" apply -f "$dir/tenants.yaml" | tail -n 1; }
ready() { until "$weft" get ports -A -o json | jq -e 'all(.items[]; .status.phase == "Ready")' > /dev/null; do sleep 0.05; done; }
phase "apply 64 ports" apply
phase "then until all ports are Ready" ready
phase "check" "$weft" lab check --lab weft-bench
