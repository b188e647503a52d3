#!/bin/bash
# In a bare tree: start Slipway as somebody who has just cloned it does, and use it.
# Usage: inside.sh root|plain
set -euo pipefail
export HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive
export SLIPWAY_PORT=$((20000 + RANDOM % 10000))
[ -z "${SLIPWAY_TEST_ENGINE:-}" ] || export SLIPWAY_ENGINE=$SLIPWAY_TEST_ENGINE

case $1 in
  root)
    as=()
    home=/root # which nobody else may enter
    chmod 0700 /root
    ;;
  plain)
    # What somebody with root does once for this user.
    /checkout/deploy/machine.sh engine python
    adduser --quiet --disabled-password --gecos '' alice
    home=/home/alice
    as=(setpriv --reuid alice --regid alice --init-groups env HOME=$home USER=alice)
    ;;
esac
cp -r /checkout $home/slipway
[ "$1" = root ] || chown -R alice:alice $home/slipway
cd $home/slipway

show_log() {
  code=$?
  [ $code -eq 0 ] || tail -n 40 /tmp/up.log
  [ -z "${up:-}" ] || kill "$up" 2>/dev/null || true
  exit $code
}
trap show_log EXIT

began=$(date +%s)
"${as[@]}" make up >/tmp/up.log 2>&1 &
up=$!
until grep -qs '^Slipway is up' /tmp/up.log; do
  kill -0 $up 2>/dev/null || { echo "make up ended"; exit 1; }
  [ $(($(date +%s) - began)) -lt 600 ] || { echo "make up takes too long"; exit 1; }
  sleep 0.2
done
echo "the first start took $(($(date +%s) - began)) s"
"${as[@]}" .venv/bin/python tests/distros/use.py "http://127.0.0.1:$SLIPWAY_PORT"
echo "the builds ended well, after $(($(date +%s) - began)) s"
if [ "$1" = root ]; then
  # All of Slipway but the helper is the service user's.
  roots=$(ps -eo user=,args= | grep -E 'manage\.py|docker|helper' | grep -v grep | awk '$1 == "root"' || true)
  echo "processes of root: ${roots:-none}"
  [ "$(grep -vc 'helper' <<<"${roots:-helper}")" -eq 0 ]
fi
"${as[@]}" .venv/bin/python manage.py doctor | tee /tmp/doctor.log
grep -qx 'Nothing stops builds.' /tmp/doctor.log
kill $up
wait $up || true
