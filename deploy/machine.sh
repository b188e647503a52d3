#!/bin/bash
# Prepares a Debian machine for Slipway: packages and, as root, the user that Slipway runs as.
# Usage: deploy/machine.sh [group...], of: engine (the default), python, test, compiler, node, monitor, deploy.
# Safe to run again: if nothing is missing, it changes nothing and needs no network.
set -euo pipefail

user=${SLIPWAY_USER:-slipway}
ids=65536
declare -A packages=(
  [engine]="bubblewrap uidmap slirp4netns mmdebstrap debian-archive-keyring iproute2 ca-certificates e2fsprogs"
  [python]="python3 python3-venv"
  [test]="postgresql redis-server curl procps chromium git skopeo docker-registry busybox-static"
  [compiler]="gcc libc6-dev python3-dev"
  [node]="nodejs npm"
  [monitor]="prometheus"
  [deploy]="nginx-light caddy pgbouncer"
)

say() { printf 'machine: %s\n' "$*" >&2; }

wanted=()
for group in "${@:-engine}"; do
  if [ -z "${packages[$group]:-}" ]; then
    say "there is no group $group; there are: ${!packages[*]}"
    exit 2
  fi
  read -ra names <<<"${packages[$group]}"
  wanted+=("${names[@]}")
done

installed=$(dpkg-query --show --showformat '${db:Status-Status} ${Package}\n' 2>/dev/null | sed -n 's/^installed //p')
missing=()
for name in "${wanted[@]}"; do
  grep -qxF "$name" <<<"$installed" || missing+=("$name")
done

# The first id above all assigned subordinate ranges (at least 100000).
free_start() {
  awk -F: 'BEGIN { top = 100000 } $2 + $3 > top { top = $2 + $3 } END { print top }' /etc/subuid /etc/subgid
}

ranges() { # FILE USER: number of ids that are assigned to the user in the file
  awk -F: -v user="$2" '$1 == user { sum += $3 } END { print sum + 0 }' "$1" 2>/dev/null || echo 0
}

short_of_ids() { [ "$(ranges /etc/subuid "$1")" -lt $ids ] || [ "$(ranges /etc/subgid "$1")" -lt $ids ]; }

if [ "$(id -u)" -ne 0 ]; then
  fatal=0
  if [ ${#missing[@]} -gt 0 ]; then
    say "missing packages; as root: apt-get install --no-install-recommends ${missing[*]}"
    fatal=1
  fi
  me=$(id -un)
  if short_of_ids "$me"; then
    start=$(free_start)
    say "$me has no $ids subordinate ids; as root: usermod --add-subuids $start-$((start + ids - 1)) --add-subgids $start-$((start + ids - 1)) $me"
    fatal=1
  fi
  if ! [ -w /dev/net/tun ]; then
    say "/dev/net/tun is not writable: builds will run without network"
  fi
  exit $fatal
fi

if [ ${#missing[@]} -gt 0 ]; then
  say "installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  # Slipway starts the servers that it needs itself, so packages must not start theirs.
  policy=/usr/sbin/policy-rc.d
  if ! [ -e $policy ]; then
    trap 'rm -f $policy' EXIT
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod 0755 $policy
  fi
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

# The helper runs as root and assigns ids to builds, so this user needs no subordinate ids.
if ! getent passwd "$user" >/dev/null; then
  say "creating the user $user"
  useradd --system --user-group --home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin "$user"
fi
