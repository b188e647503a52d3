#!/bin/bash
# The first start on bare trees of Debian 12 and 13, as root and as a plain user. Run as root.
# Usage: tests/distros/run.sh [bookworm:root|bookworm:plain|trixie:root|trixie:plain]...
# The kernel, the network and pip's configuration are the host's; all else is the tree's own.
set -euo pipefail
cd "$(dirname "$0")/../.."

say() { printf '\n== %s\n' "$*"; }
[ "$(id -u)" -eq 0 ] || { echo "test-distros: needs root, to enter a tree of its own" >&2; exit 1; }

folder=$(mktemp -d /var/tmp/slipway-distros-XXXXXXXX)
inside=
clean() {
  # All that runs in the tree ends with it.
  [ -z "$inside" ] || { kill -KILL "$inside"; wait "$inside"; } 2>/dev/null || true
  rm -rf --one-file-system "$folder"
}
trap clean EXIT
trap 'exit 130' INT TERM HUP
chmod 0755 "$folder"
export SLIPWAY_TEST_ENGINE=${SLIPWAY_TEST_ENGINE:-}

# Files that pip is configured by, and what they or the environment name.
pip_paths() {
  local path
  python3 -m pip config debug 2>/dev/null | sed -n 's/^ *\(\/.*\), exists: True$/\1/p'
  { python3 -m pip config list 2>/dev/null || true; env | grep '^PIP_' || true; } |
    grep -oE "(file://)?/[^ ',\"]+" | sed 's|^file://||' | while read -r path; do
    path=${path%/simple} # an index has its files beside it
    if [ -e "$path" ] && [ "$path" != / ]; then echo "$path"; fi
  done
}

make_tree() { # release, target
  local main
  main=$(deploy/engine-root.sh --mirror)
  mmdebstrap --quiet --variant=minbase \
    --include=make,python3,ca-certificates,sudo,adduser,procps,util-linux "$1" "$2" \
    "deb $main $1 main" "deb $main $1-updates main" "deb $main-security $1-security main"
  # Hosts behind a proxy that ends TLS have its certificate here.
  if compgen -G '/usr/local/share/ca-certificates/*.crt' >/dev/null; then
    cp /usr/local/share/ca-certificates/*.crt "$2/usr/local/share/ca-certificates/"
    chroot "$2" update-ca-certificates >/dev/null
  fi
  mkdir "$2/checkout"
  git ls-files -z --cached --others --exclude-standard |
    tar --create --null --files-from - --ignore-failed-read | tar --extract --directory "$2/checkout"
}

enter() { # tree, user
  PIP_PATHS=$(pip_paths | sort -u) unshare --mount --pid --fork --kill-child \
    bash tests/distros/enter.sh "$1" bash /checkout/tests/distros/inside.sh "$2" &
  inside=$!
  wait "$inside"
  inside=
}

[ $# -gt 0 ] || set -- bookworm:root bookworm:plain trixie:root trixie:plain
for each in "$@"; do
  release=${each%%:*}
  user=${each#*:}
  say "Debian $release, started as $user"
  make_tree "$release" "$folder/tree"
  enter "$folder/tree" "$user"
  rm -rf --one-file-system "$folder/tree"
done
say "all of them build"
