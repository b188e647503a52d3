#!/bin/bash
# Makes the engine root: a read-only tree of Debian 13 with all programs that build, push and serve
# images, in <SLIPWAY_DATA_DIR or var>/engine-root/<time>/. The link `current` names the present one.
# Usage: deploy/engine-root.sh            make one unless there is one with the packages named here
#        deploy/engine-root.sh --renew    make a new one and switch to it
#        deploy/engine-root.sh --check    print the packages that the release has in newer versions
#        deploy/engine-root.sh --mirror   print where packages come from
# Packages are unpacked and nothing of them is run. Needs mmdebstrap, and no root.
set -euo pipefail
umask 022

release=trixie
packages=(
  bash busybox-static ca-certificates coreutils docker-buildx docker-cli docker-registry docker.io
  e2fsprogs git iproute2 runc skopeo slirp4netns tar uidmap util-linux xz-utils
)
programs=(
  bash busybox containerd docker docker-registry dockerd git ip mkfs.ext4 newuidmap runc setpriv
  skopeo slirp4netns tar unshare xz
)
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
data=${SLIPWAY_DATA_DIR:-var}
data=${data/#\~\//${HOME:-}/}
roots=$data/engine-root
present=${SLIPWAY_ENGINE_ROOT:-$roots/current}

temporary=
trap '[ -z "$temporary" ] || rm -rf "$temporary"' EXIT
trap 'exit 130' INT TERM HUP

say() { printf 'engine root: %s\n' "$*" >&2; }
fail() { say "$@"; exit 1; }

# Debian's address: what SLIPWAY_DEBIAN_MIRROR says, else the host's own, else the public one.
main_mirror() {
  if [ -n "${SLIPWAY_DEBIAN_MIRROR:-}" ]; then
    echo "$SLIPWAY_DEBIAN_MIRROR"
    return
  fi
  local codename
  codename=$(. /etc/os-release && [ "${ID:-}" = debian ] && echo "${VERSION_CODENAME:-}") || true
  # Other archives use the same names of releases: only a path that ends like Debian's counts.
  apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 2>/dev/null |
    awk -v name="${codename:-none}" \
      '($2 == name || $2 == "stable") && $3 == "main" && $1 ~ /^https?:.*\/debian\/?$/ { print $1; exit }' |
    grep . || echo http://deb.debian.org/debian
}

sources() {
  local main security
  main=$(main_mirror)
  main=${main%/}
  security=$main-security
  local signed="deb [signed-by=$keyring]"
  printf '%s\n' "$signed $main $release main" "$signed $main $release-updates main" \
    "$signed $security $release-security main"
}

# mmdebstrap does not read the host's apt configuration; what leads to the mirror is passed on.
host_options() {
  local name value
  for name in Acquire::http::Proxy Acquire::https::Proxy Acquire::https::CaInfo Acquire::Check-Valid-Until; do
    value=
    eval "$(apt-config shell value "$name" 2>/dev/null)"
    [ -z "$value" ] || printf '%s\n' "--aptopt=$name \"$value\""
  done
}

bootstrap() { # the target and further options
  local target=$1 options sources mode=chrootless
  # Nothing is run of what is unpacked, so a plain user needs no namespace, and owns what is made.
  [ "$(id -u)" -ne 0 ] || mode=root
  mapfile -t options < <(host_options)
  mapfile -t sources < <(sources)
  # Started where everybody may be: apt may do its work as a user of its own.
  (cd / && mmdebstrap --mode=$mode --variant=extract --include="$(IFS=,; echo "${packages[*]}")" \
    "${options[@]}" "${@:2}" $release "$target" "${sources[@]}")
}

is_made() { [ -e "$1/packages.txt" ] && [ "$(cat "$1/included.txt" 2>/dev/null)" = "${packages[*]}" ]; }

in_use() { # whether a process has a mount of this root
  local mounts
  for mounts in /proc/[0-9]*/mountinfo; do
    # Processes end meanwhile; those of other users cannot be looked at and use other roots.
    ! grep -qsF "/engine-root/$1/" "$mounts" || return 0
  done
  return 1
}

# Under the lock: leftovers of makings that were interrupted, and former roots that nobody uses.
clean() {
  local path current
  current=$(readlink "$roots/current" || true)
  for path in "$roots"/.making-* "$roots"/2*; do
    [ -d "$path" ] || continue
    case ${path##*/} in
      "$current") ;;
      .making-*) rm -rf "$path" ;;
      *) in_use "${path##*/}" || rm -rf "$path" ;;
    esac
  done
}

finish() { # a tree: only what is needed, readable by everybody, writable by its owner alone
  local tree=$1 program
  rm -rf "$tree"/dev/* "$tree"/usr/share/{doc,man,locale,info,lintian,bash-completion,fish,zsh,menu,bug,doc-base,pixmaps}
  find "$tree/usr/share/ca-certificates" -name '*.crt' -print0 | sort -z | xargs -0 cat \
    >"$tree/etc/ssl/certs/ca-certificates.crt"
  [ "$(id -u)" -ne 0 ] || chown -hR 0:0 "$tree"
  # No program in it changes its user: whoever starts one has the rights already.
  chmod -R a=rX,u+w,a-st "$tree"
  for program in "${programs[@]}"; do
    [ -x "$tree/usr/bin/$program" ] || [ -x "$tree/usr/sbin/$program" ] || fail "$program is missing in what was made"
  done
}

make_one() {
  local id log
  id=$(date -u +%Y%m%dT%H%M%SZ)
  while [ -e "$roots/$id" ]; do sleep 1; id=$(date -u +%Y%m%dT%H%M%SZ); done
  making=$(mktemp -d "$roots/.making-XXXXXXXX")
  temporary=$making
  making=$(realpath "$making")
  mkdir -m 0755 "$making/tree"
  log=$making/log
  say "making one of Debian $release from $(main_mirror); this takes some 20 seconds"
  # shellcheck disable=SC2016  # the hook's own shell reads it
  bootstrap "$making/tree" --extract-hook='for deb in "$1"/var/cache/apt/archives/*.deb; do
      dpkg-deb --show --showformat "\${Package} \${Version}\n" "$deb"
    done >"$1/packages.txt"' >"$log" 2>&1 ||
    { tail -n 15 "$log" >&2; fail "it could not be made; what mmdebstrap said is above"; }
  finish "$making/tree"
  echo "${packages[*]}" >"$making/tree/included.txt"
  # A tree that is named is complete, also after the power has failed.
  sync -f "$making/tree"
  mv -T "$making/tree" "$roots/$id"
  ln -s "$id" "$making/current"
  mv -T "$making/current" "$roots/current"
  say "$roots/$id is made, $(du -sm "$roots/$id" | cut -f 1) MB"
}

check() {
  local new
  is_made "$present" || fail "there is none; \`make engine\` makes it"
  folder=$(mktemp -d)
  temporary=$folder
  TMPDIR=$folder bootstrap /dev/null --simulate --verbose >"$folder/log" 2>&1 ||
    { tail -n 3 "$folder/log" >&2; fail "the mirror could not be asked"; }
  new=$(awk 'FILENAME == ARGV[1] { have[$1] = $2; next }
    $1 == "Conf" { version = substr($3, 2); if (have[$2] != version) print $2, have[$2], version }' \
    "$present/packages.txt" "$folder/log")
  [ -z "$new" ] || printf '%s\n' "$new"
}

# Whoever names one that is shared makes it elsewhere.
if [ -n "${SLIPWAY_ENGINE_ROOT:-}" ] && [[ ${1:-} != --check && ${1:-} != --mirror ]]; then
  [ -e "$present/packages.txt" ] || fail "SLIPWAY_ENGINE_ROOT=$present: there is none"
  exit 0
fi
case ${1:-} in
  "" | --renew) ;;
  --check) check; exit ;;
  --mirror) mirror=$(main_mirror); echo "${mirror%/}"; exit ;;
  *) sed -n '2,8s/^# //p' "$0" >&2; exit 2 ;;
esac

if [ "${1:-}" != --renew ] && is_made "$roots/current"; then
  # Nothing to make; former ones may have fallen out of use. Without rights to do so, so be it.
  [ -w "$roots" ] || exit 0
fi
[ -d "$data" ] || { mkdir -p "$(dirname "$data")" && mkdir -m 0700 "$data"; }
[ -d "$roots" ] || mkdir -m 0755 "$roots"
if [ -L "$roots" ] || ! [ -O "$roots" ]; then
  fail "$roots is not a folder of $(id -un): started as another user before?"
fi
command -v mmdebstrap >/dev/null || fail "mmdebstrap is missing; deploy/machine.sh installs it"
exec 9>"$roots/.lock"
flock 9
clean
if [ "${1:-}" = --renew ] || ! is_made "$roots/current"; then
  make_one
  clean
fi
