#!/usr/bin/env bash
# The main job, shown: a spine-leaf fabric of real FRR and Open vSwitch, two
# tenants with the same addresses over it, every packet counted. Needs root.
#   lab/demo.sh [WEFT-BINARY]
set -euo pipefail
weft=$(realpath "${1:-bin/weft}")
[ "$(id -u)" = 0 ] || { echo "labs need root, for network namespaces: run it with sudo" >&2; exit 1; }
dir=$(mktemp -d)
finish() {
  status=$?
  trap - EXIT
  "$weft" lab down "$dir/dc.clab.yml" || status=1
  rm -rf "$dir"
  exit $status
}
trap finish EXIT
trap 'exit 130' INT TERM
show() { printf '\n$ weft %s\n' "$*"; "$weft" "$@"; }

cd "$dir"
echo '$ weft lab generate --name weft-demo --spines 2 --leaves 3 --hypervisors 2 --hosts 2 > dc.clab.yml'
"$weft" lab generate --name weft-demo --spines 2 --leaves 3 --hypervisors 2 --hosts 2 > dc.clab.yml
show lab up dc.clab.yml
echo; echo '$ weft lab intent dc.clab.yml > tenants.yaml'
"$weft" lab intent dc.clab.yml > tenants.yaml
endpoint=$("$weft" lab status weft-demo -o json | jq -r .controller)
export WEFT_SERVER=$endpoint
show apply -f tenants.yaml
show get networks -A -o wide
show get ports -A -o wide
show lab status weft-demo
show lab check --lab weft-demo --ready 60s
