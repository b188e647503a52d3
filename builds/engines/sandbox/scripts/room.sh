# Root of the first user namespace: close every way to a private address, then build the room.
# Environment: NETWORK, DENY (networks, blank separated), FILTER (of system calls). The arguments
# are bwrap's.
set -eo pipefail
read -ra DENY <<<"$DENY"
[ -z "$NETWORK" ] || printf u >&4
# runc wants to see control groups, if only to read; /srv is a place that no build looks at.
if [ -d /sys/fs/cgroup/devices ]; then
  mount -t cgroup -o ro,devices groups /srv
else
  mount -t cgroup2 -o ro groups /srv
fi
if [ -n "$NETWORK" ]; then
  read -r -t 10 -n 1 -u 3
  exec 3<&- 4<&-
  # In this order: a gateway that is a hole already takes no default route.
  printf '%s\n' 'link set lo up' 'link set tap0 mtu 65520 up' 'addr add 10.0.2.100/24 dev tap0' \
    'route add default via 10.0.2.2' 'route add blackhole 10.0.2.2/32' \
    "${DENY[@]/#/route add blackhole }" | ip -batch -
else
  ip link set lo up
fi
if [ -s "$FILTER" ]; then
  exec bwrap --seccomp 9 "$@" 9<"$FILTER"
fi
exec bwrap "$@"
