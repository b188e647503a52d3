#!/bin/bash
# Creates the engine root: a read-only Debian 13 tree with all programs that build, push and serve
# images, in <SLIPWAY_DATA_DIR or var>/engine-root/<time>/. The link `current` points to the one in use.
# Usage: deploy/engine-root.sh            create one, unless there is one with the packages listed here
#        deploy/engine-root.sh --renew    create a new one and switch to it
#        deploy/engine-root.sh --check    print the packages that the release has in newer versions
#        deploy/engine-root.sh --mirror   print the mirror that packages come from
# Packages are unpacked, and none of their programs is run. Needs mmdebstrap, but not root.
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

# The URL of the Debian mirror: SLIPWAY_DEBIAN_MIRROR, else the host's mirror, else the public one.
main_mirror() {
  if [ -n "${SLIPWAY_DEBIAN_MIRROR:-}" ]; then
    echo "$SLIPWAY_DEBIAN_MIRROR"
    return
  fi
  local codename
  codename=$(. /etc/os-release && [ "${ID:-}" = debian ] && echo "${VERSION_CODENAME:-}") || true
  # Other archives use the same release names, so accept only paths that end in /debian.
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

# mmdebstrap does not read the host's apt configuration, so pass on what it needs for the mirror.
host_options() {
  local name value
  for name in Acquire::http::Proxy Acquire::https::Proxy Acquire::https::CaInfo Acquire::Check-Valid-Until; do
    value=
    eval "$(apt-config shell value "$name" 2>/dev/null)"
    [ -z "$value" ] || printf '%s\n' "--aptopt=$name \"$value\""
  done
}

bootstrap() { # TARGET [OPTION...]
  local target=$1 options sources mode=chrootless
  # No unpacked program is run, so a plain user needs no namespace and owns the created files.
  [ "$(id -u)" -ne 0 ] || mode=root
  mapfile -t options < <(host_options)
  mapfile -t sources < <(sources)
  # Run in /, because apt may switch to another user that cannot enter the current folder.
  (cd / && mmdebstrap --mode=$mode --variant=extract --include="$(IFS=,; echo "${packages[*]}")" \
    "${options[@]}" "${@:2}" $release "$target" "${sources[@]}")
}

is_made() { [ -e "$1/packages.txt" ] && [ "$(cat "$1/included.txt" 2>/dev/null)" = "${packages[*]}" ]; }

in_use() { # ID: whether a process has mounted this root
  local mounts
  for mounts in /proc/[0-9]*/mountinfo; do
    # Processes may end meanwhile. Those of other users are not readable, but use other roots.
    ! grep -qsF "/engine-root/$1/" "$mounts" || return 0
  done
  return 1
}

# Call with the lock held. Removes leftovers of interrupted runs, and old roots that are not in use.
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

finish() { # TREE: remove what is not needed; make it readable by everybody, writable by its owner only
  local tree=$1 program
  rm -rf "$tree"/dev/* "$tree"/usr/share/{doc,man,locale,info,lintian,bash-completion,fish,zsh,menu,bug,doc-base,pixmaps}
  find "$tree/usr/share/ca-certificates" -name '*.crt' -print0 | sort -z | xargs -0 cat \
    >"$tree/etc/ssl/certs/ca-certificates.crt"
  [ "$(id -u)" -ne 0 ] || chown -hR 0:0 "$tree"
  # No set-user-id programs: they run with the rights of the process that starts them.
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
  # Sync before the rename, so that a named tree is complete even after a power failure.
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

# SLIPWAY_ENGINE_ROOT names a shared root, which is created elsewhere.
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
  # Nothing to create. Continue only to remove old roots, if this user may do so.
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
