#!/bin/bash
# Makes a tree the root of this mount namespace and runs a command there.
# Usage, in namespaces for mounts and processes of its own: enter.sh TREE COMMAND...
set -euo pipefail
tree=$1
shift
mount --make-rprivate /
mount --bind "$tree" "$tree"
cd "$tree"
mount --rbind /dev dev
mount -t proc proc proc
mount --rbind /sys sys
mount -t tmpfs -o mode=0755 tmpfs run
cp --dereference /etc/resolv.conf etc/resolv.conf
while read -r path; do
  [ -n "$path" ] || continue
  if [ -d "$path" ]; then mkdir -p ".$path"; else mkdir -p ".$(dirname "$path")" && touch ".$path"; fi
  mount --rbind "$path" ".$path"
done <<<"${PIP_PATHS:-}"
mkdir -p old
pivot_root . old
cd /
umount --lazy /old
exec "$@"
