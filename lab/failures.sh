#!/usr/bin/env bash
# Every link and every switch of three fabrics fails in turn: a table and a picture of
# each, in a folder. Needs root.
#   lab/failures.sh WEFT-BINARY FOLDER [KINDS]
set -euo pipefail
weft=$(realpath "${1:-bin/weft}")
out=$(realpath "${2:-.}")
kinds=${3:-links,one-way,crashes,daemons}
[ "$(id -u)" = 0 ] || { echo "labs need root, for network namespaces: run it with sudo" >&2; exit 1; }
mkdir -p "$out"
dir=$(mktemp -d)
finish() {
  status=$?
  trap - EXIT
  for f in "$dir"/*.clab.yml; do "$weft" lab down "$f" || status=1; done
  rm -rf "$dir"
  exit $status
}
trap finish EXIT
trap 'exit 130' INT TERM

# Servers at EVPN leaves: what a busy machine loses in a vSwitch is no failure.
edges="--hypervisors 0 --hosts 0 --servers 1"
two_tiers="--spines 4 --leaves 6 $edges"
pods="--superspines 2 --spines 4 --leaves 4 --pods 2 $edges"
# shellcheck disable=SC2034 # named by SHAPES
isis="--spines 4 --leaves 6 $edges --underlay isis"
# Gives each server a port in one network.
in_one_network() {
  awk '/^    server[0-9]+:$/ { n = $1; gsub(/[^0-9]/, "", n); print
    print "      labels: {weft-tenant: blue, weft-network: lan, weft-addresses: 10.0.0." n "/24}"
    print "      exec: [ip addr add 10.0.0." n "/24 dev eth1]"; next } { print }'
}
status=0
for shape in ${SHAPES:-two_tiers pods isis}; do
  name=failures-${shape//_/-}
  file=$dir/$name.clab.yml
  # shellcheck disable=SC2086 # the shape is words
  "$weft" lab generate --name "$name" ${!shape} | in_one_network > "$file"
  "$weft" lab up "$file"
  WEFT_SERVER=$("$weft" lab status "$name" -o json | jq -r .controller)
  export WEFT_SERVER
  "$weft" lab intent "$file" | "$weft" apply -f - > /dev/null
  "$weft" lab check --lab "$name" --ready 60s > /dev/null
  "$weft" lab failures "$name" --only "$kinds" --svg "$out/$name.svg" --out "$out/$name.csv" 2> "$dir/log" || { status=1; tail -3 "$dir/log"; }
  "$weft" lab down "$file"
done
exit $status
