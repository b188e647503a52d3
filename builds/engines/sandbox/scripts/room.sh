# Root of the first user namespace: close every way to a private address, then build the room.
# Environment: NETWORK, DENY (networks, blank separated), GATEWAY. The arguments are bwrap's.
set -e
[ -z "$NETWORK" ] || printf u >&4
# runc wants to see control groups, if only to read; /srv is a place that no build looks at.
if [ -d /sys/fs/cgroup/devices ]; then
  mount -t cgroup -o ro,devices groups /srv
else
  mount -t cgroup2 -o ro groups /srv
fi
{
  echo link set lo up
  [ -z "$NETWORK" ] || printf 'route add blackhole %s\n' $DENY
} | ip -batch -
if [ -n "$NETWORK" ]; then
  read -r -t 10 -n 1 -u 3
  exec 3<&- 4<&-
  # Only now: the default route could not be set through a gateway that is a hole already.
  ip route add blackhole "$GATEWAY"
fi
exec bwrap "$@"
