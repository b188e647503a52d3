# Root's part, in a mount namespace of the build's own: join the limits, show the folders that the
# build needs where an ordinary user can reach them, and become that user for good.
# Environment: BUILD_UID, BUILD_GID, GROUPS_OF_BUILD, TUN, FSTAB, SECRET.
set -e
for group in $GROUPS_OF_BUILD; do echo $$ >"$group/cgroup.procs"; done
mount -t tmpfs -o mode=0755,size=1m room /mnt
if [ -n "$TUN" ]; then
  mknod -m 0666 /mnt/tun c 10 200
  mount --bind /mnt/tun /dev/net/tun
fi
printf '%s' "$FSTAB" >/mnt/fstab
mount --all --fstab /mnt/fstab
if [ -n "$SECRET" ]; then
  install -o "$BUILD_UID" -g "$BUILD_GID" -m 0400 "$SECRET" /mnt/auth.json
fi
umask 022
exec setpriv --reuid "$BUILD_UID" --regid "$BUILD_GID" --clear-groups --pdeathsig KILL -- "$@"
