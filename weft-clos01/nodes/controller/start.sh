#!/bin/bash
# The controller of lab clos01. Written by "weft lab export".
set -euo pipefail
trap 'exit 1' USR1
trap 'trap "" TERM; kill 0; exit 0' TERM INT

# daemon COMMAND...: in the background; when it ends, so does the container.
daemon() {
  { "$@" || true; echo "ended: $*" >&2; kill -USR1 $$; } &
}

# await COMMAND...: until it succeeds, for a minute at most.
await() {
  for ((n = 0; n < 600; n++)); do "$@" >/dev/null 2>&1 && return; sleep 0.1; done
  echo "in vain: $*" >&2; exit 1
}

daemon weft controller --data-dir /var/lib/weft --listen 127.0.0.1:8470 --listen 172.20.21.2:8470 --asn 64512 --bgp-router-id 240.219.34.79 --bgp-listen 0.0.0.0:179
await weft get nodes
weft apply -f /weft/fabric.yaml
# Last: so the agents are told whole states only.
weft apply -f /weft/underlay.yaml

echo started
wait
