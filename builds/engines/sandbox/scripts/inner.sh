# The build user's part: become root of a user namespace, with a network stack that a helper
# outside it feeds. The helper is a child of the process that becomes the build, and dies with it.
# Environment: NETWORK (yes or empty), SLIPWAY (its pid). Everything else is handed on.

# Changing the user dropped the signal that follows Slipway's death for a moment.
[ "$PPID" = "$SLIPWAY" ] || exit 1
if [ -n "$NETWORK" ]; then
  # Two pipes: 3 says that the helper is attached, 4 that there is something to attach to.
  exec 3<> <(:) 4<> <(:)
  {
    read -r -t 10 -n 1 -u 4 && exec setpriv --pdeathsig KILL slirp4netns --mtu=65520 \
      --disable-host-loopback --enable-sandbox --enable-seccomp --ready-fd=3 $$ tap0 4<&-
  } </dev/null >/dev/null 2>&1 &
fi
exec unshare --user --map-root-user --map-auto --mount --net --cgroup -- "$@"
