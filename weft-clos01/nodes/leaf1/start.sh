#!/bin/bash
# Switch leaf1 of lab clos01: FRR. Written by "weft lab export".
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

# The kernel's settings; containerlab plugs the links in meanwhile.
echo 1 >/proc/sys/net/ipv4/conf/all/ignore_routes_with_linkdown
echo 0 >/proc/sys/net/ipv4/conf/all/rp_filter
echo 1 >/proc/sys/net/ipv4/conf/default/ignore_routes_with_linkdown
echo 0 >/proc/sys/net/ipv4/conf/default/rp_filter
echo 1 >/proc/sys/net/ipv4/fib_multipath_hash_policy
[ ! -e /proc/sys/net/ipv4/fib_multipath_hash_seed ] || echo 2828751981 >/proc/sys/net/ipv4/fib_multipath_hash_seed
echo 1 >/proc/sys/net/ipv4/fib_multipath_use_neigh
echo 1 >/proc/sys/net/ipv4/ip_forward
[ ! -e /proc/sys/net/ipv6/conf/all/accept_dad ] || echo 0 >/proc/sys/net/ipv6/conf/all/accept_dad
[ ! -e /proc/sys/net/ipv6/conf/all/forwarding ] || echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
[ ! -e /proc/sys/net/ipv6/conf/all/ignore_routes_with_linkdown ] || echo 1 >/proc/sys/net/ipv6/conf/all/ignore_routes_with_linkdown
[ ! -e /proc/sys/net/ipv6/conf/default/accept_dad ] || echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad
[ ! -e /proc/sys/net/ipv6/conf/default/forwarding ] || echo 1 >/proc/sys/net/ipv6/conf/default/forwarding
[ ! -e /proc/sys/net/ipv6/conf/default/ignore_routes_with_linkdown ] || echo 1 >/proc/sys/net/ipv6/conf/default/ignore_routes_with_linkdown
[ ! -e /proc/sys/net/ipv6/fib_multipath_hash_policy ] || echo 1 >/proc/sys/net/ipv6/fib_multipath_hash_policy
for i in e1-1 e1-2; do
  await test -e /sys/class/net/$i
  echo 1 >/proc/sys/net/ipv4/conf/$i/ignore_routes_with_linkdown
  echo 0 >/proc/sys/net/ipv4/conf/$i/rp_filter
  [ ! -e /proc/sys/net/ipv6/conf/$i/accept_dad ] || echo 0 >/proc/sys/net/ipv6/conf/$i/accept_dad
  [ ! -e /proc/sys/net/ipv6/conf/$i/forwarding ] || echo 1 >/proc/sys/net/ipv6/conf/$i/forwarding
  [ ! -e /proc/sys/net/ipv6/conf/$i/ignore_routes_with_linkdown ] || echo 1 >/proc/sys/net/ipv6/conf/$i/ignore_routes_with_linkdown
  ip link set $i up
done
# The way to the host is no way for the fabric's packets.
ip route del default dev eth0 2>/dev/null || true
ip -6 route del default dev eth0 2>/dev/null || true

install -d -o frr -g frr /run/frr
touch /etc/frr/vtysh.conf
install -o frr -g frr -m 640 /weft/start.conf /run/frr/start.conf
daemon /usr/lib/frr/zebra -f /run/frr/start.conf -A 127.0.0.1 -P 0 -s 8388608 -K 20
await vtysh -d zebra -c 'show version'
daemon /usr/lib/frr/staticd -f /run/frr/start.conf -A 127.0.0.1 -P 0
await vtysh -d staticd -c 'show version'
daemon /usr/lib/frr/bfdd -f /run/frr/start.conf -A 127.0.0.1 -P 0
await vtysh -d bfdd -c 'show version'
chrt --rr --pid 1 "$(cat /run/frr/bfdd.pid)" || echo "bfdd runs without a real-time priority" >&2
daemon /usr/lib/frr/bgpd -f /run/frr/start.conf -A 127.0.0.1 -P 0
await vtysh -d bgpd -c 'show version'

# What the agent has until the controller answers; then what that told it last.
[ -e /var/lib/weft-agent/state.json ] || install -D -m 600 /weft/state.json /var/lib/weft-agent/state.json
daemon weft agent --node leaf1 --serial clos01-leaf1 --controller http://172.20.21.2:8470 --frr-dir /run/frr --state-dir /var/lib/weft-agent

echo started
wait
