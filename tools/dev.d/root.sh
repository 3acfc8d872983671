# Where the toolchain lives: the host itself, a private Debian root, or a container. Sourced by tools/dev.

readonly ROOT_SUITE=trixie
readonly PEERS_SUITE=sid

package_names() {  # those of tools/packages.txt that bear no mark, or with "sid" or "cross" those marked =sid or =cross
  local want=${1:-} line
  if [[ -z $want && -n ${PACKAGES_INSTEAD:-} ]]; then
    printf '%s\n' $PACKAGES_INSTEAD
    return
  fi
  while read -r line; do
    line=${line#@}
    case $line in
      '' | '#'*) ;;
      *=*) [[ ${line#*=} != "$want" ]] || echo "${line%=*}" ;;
      *) [[ -n $want ]] || echo "$line" ;;
    esac
  done <"$LINNET_CHECKOUT/tools/packages.txt"
}

host_mirror() {  # the host's own Debian mirror, else debootstrap's default
  local uri
  uri=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
    grep -Eo '^(deb( \[[^]]*\])?|URIs:) +https?://[^ ]+' | grep -Eo 'https?://[^ ]+/debian/?$' | grep -v security | head -n 1 || true)
  echo "${uri:-http://deb.debian.org/debian}"
}

is_debian_13() {
  [[ -r /etc/os-release ]] || return 1
  (. /etc/os-release; [[ ${ID:-} == debian && ( ${VERSION_ID:-0} -ge 13 || ${VERSION_CODENAME:-} == sid || -z ${VERSION_ID:-} ) ]])
}

enter_toolchain() {
  local engine=$1
  shift
  if [[ -z $engine ]]; then
    if is_debian_13; then engine=host; else engine=root; fi
  fi
  case $engine in
    host) enter_host "$@" ;;
    root) enter_root "$@" ;;
    docker) enter_docker "$@" ;;
    *) die "--engine takes root, host or docker, not '$engine'" ;;
  esac
}

run_here() { LINNET_INSIDE=host exec "$LINNET_CHECKOUT/tools/dev" "$@"; }

enter_host() {
  local stamp=$LINNET_CACHE/host-packages hash
  hash=$(packages_hash)
  if [[ $(cat "$stamp" 2>/dev/null) != "$hash" ]]; then
    [[ $(id -u) == 0 ]] || die "installing the packages of tools/packages.txt needs root; run 'sudo tools/dev shell true' once"
    step "installing packages"
    printf 'APT::Install-Recommends "0";\n' >/etc/apt/apt.conf.d/99linnet
    install_packages "" || die "apt could not install the packages of tools/packages.txt: see above"
    mkdir -p "$LINNET_CACHE"
    echo "$hash" >"$stamp"
  fi
  run_here "$@"
}

enter_docker() {
  command -v docker >/dev/null || die "--engine docker: there is no docker client here; use --engine root"
  docker info >/dev/null 2>&1 || die "--engine docker: the client finds no running daemon; start it, or use --engine root"
  mkdir -p "$LINNET_CACHE"
  exec docker run --rm -i --privileged --network host -v "$LINNET_CHECKOUT:$LINNET_CHECKOUT" -v "$LINNET_CACHE:$LINNET_CACHE" \
    -e LINNET_CACHE="$LINNET_CACHE" -e LINNET_ENGINE=host -w "$PWD" "debian:$ROOT_SUITE" "$LINNET_CHECKOUT/tools/dev" "$@"
}

packages_hash() {
  { package_names; package_names sid; declare -f install_packages make_root; uname -m; } | sha256sum | cut -c1-16
}

# in_root ROOT CMD...: runs CMD inside ROOT in a mount and PID namespace of its own, so that nothing stays mounted and
# no process outlives it. The checkout, the cache, the home folder and /tmp are visible at the same paths.
in_root() {
  local root=$1
  shift
  mkdir -p "$LINNET_CACHE"
  local propagation=private
  [[ ${LINNET_INSIDE:-} == root && -z ${ENTERING:-} ]] && propagation=unchanged  # nested: private already, and "/" is no mount point
  env -u ENTERING LINNET_ROOT="$root" unshare --mount --pid --fork --kill-child --propagation $propagation bash -c '
    set -e
    root=$LINNET_ROOT
    mount -t proc proc "$root/proc"
    for d in sys dev tmp; do mount --rbind "/$d" "$root/$d"; done
    for d in "$HOME" "$LINNET_CHECKOUT" "$LINNET_CACHE" "$PWD" ${LINNET_HOME:+"$LINNET_HOME"}; do
      case $d in /tmp | /tmp/* | /) continue ;; esac
      [[ -d $d ]] || continue
      mkdir -p "$root$d"
      mount --rbind "$d" "$root$d"
    done
    for f in /etc/resolv.conf /etc/hosts /etc/ssl/certs/ca-certificates.crt /etc/pip.conf; do
      if [[ -r $f ]]; then
        mkdir -p "$root$(dirname "$f")"
        # A symbolic link would be followed to a path outside the root.
        [[ -L $root$f ]] && rm -f "$root$f"
        [[ -e $root$f ]] || touch "$root$f"
        mount --bind "$(readlink -f "$f")" "$root$f"
      fi
    done
    # Without a shell between, a signal to the namespace reaches the command itself.
    exec chroot "$root" env -C "$PWD" LANG=C.UTF-8 LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
  ' in_root "$@"
}

install_packages() {  # into this machine ("") or into a root
  local root=$1 run=()
  [[ -n $root ]] && run=(in_root "$root")
  local script='set -e
    export DEBIAN_FRONTEND=noninteractive
    mirror=$1 sid_packages=$2; shift 2
    cat >/etc/apt/sources.list.d/linnet-sid.sources <<SID
Types: deb
URIs: $mirror
Suites: sid
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
SID
    printf "Package: *\nPin: release n=sid\nPin-Priority: -10\n" >/etc/apt/preferences.d/linnet-sid
    for p in $sid_packages; do
      printf "\nPackage: %s\nPin: release n=sid\nPin-Priority: 500\n" "$p" >>/etc/apt/preferences.d/linnet-sid
    done
    apt-get -qq -o Acquire::Check-Valid-Until=false update
    apt-get -qq -y --no-install-recommends install "$@" $sid_packages'
  # shellcheck disable=SC2046
  "${run[@]}" bash -c "$script" install "$(host_mirror)" "$(package_names sid | tr '\n' ' ')" $(package_names) >&2
}

make_root() {  # make_root ROOT SUITE INSTALL: builds into a temporary name, renames when whole
  local root=$1 suite=$2 install=$3 tmp=$1.tmp mirror
  mirror=$(host_mirror)
  if ! command -v debootstrap >/dev/null; then
    step "installing debootstrap"
    { apt-get -qq update && apt-get -qq -y --no-install-recommends install debootstrap; } >&2 ||
      die "debootstrap is missing and could not be installed; install it, or use --engine docker"
  fi
  local free_kib
  free_kib=$(df --output=avail -k "$(dirname "$root")" | tail -n 1)
  [[ $free_kib -gt 6291456 ]] || die "$(dirname "$root") has $((free_kib / 1048576)) GiB free, 6 GiB are needed; set LINNET_CACHE to a roomier folder"
  rm -rf --one-file-system "$tmp" "$root"
  step "making a Debian $suite root in $root (from $mirror)"
  debootstrap --variant=minbase --include=ca-certificates "$suite" "$tmp" "$mirror" >"$root.log" 2>&1 ||
    { tail -n 5 "$root.log" >&2; die "debootstrap failed (whole log: $root.log); is the mirror $mirror reachable?"; }
  printf '%s\n' 'APT::Install-Recommends "0";' 'Acquire::Check-Valid-Until "false";' 'DPkg::Options "--force-unsafe-io";' \
    'Acquire::Languages "none";' >"$tmp/etc/apt/apt.conf.d/99linnet"
  printf '#!/bin/sh\nexit 101\n' >"$tmp/usr/sbin/policy-rc.d"  # no service starts in here
  chmod +x "$tmp/usr/sbin/policy-rc.d"
  step "installing its packages"
  "$install" "$tmp" >>"$root.log" 2>&1 || { tail -n 15 "$root.log" >&2; die "packages could not be installed (whole log: $root.log)"; }
  rm -f "$tmp"/var/cache/apt/archives/*.deb
  mv "$tmp" "$root"
}

ensure_root() {  # ensure_root NAME SUITE HASH INSTALL: sets REPLY to the root's path
  local name=$1 suite=$2 hash=$3 install=$4 root=$LINNET_CACHE/roots/$1-$3
  REPLY=$root
  [[ -e $root/etc/debian_version ]] && return
  [[ $(id -u) == 0 ]] || die "making a private Debian $suite root needs root (or Debian 13, or --engine docker)"
  mkdir -p "$LINNET_CACHE/roots"
  exec 9>"$LINNET_CACHE/roots/$name.lock"
  flock --nonblock 9 || { step "another tools/dev is making the $name root; waiting for it"; flock 9; }
  if [[ ! -e $root/etc/debian_version ]]; then
    make_root "$root" "$suite" "$install"
    local old  # the roots of earlier package lists
    for old in "$LINNET_CACHE/roots/$name-"*; do
      [[ $old == "$root" || $old == *.log || ! -d $old ]] || rm -rf --one-file-system "$old"
    done
  fi
  exec 9>&-
}

enter_root() {
  [[ $(id -u) == 0 ]] || die "this host is not Debian 13; a private root needs root: run it with sudo, or use --engine docker"
  ensure_root "$ROOT_SUITE" "$ROOT_SUITE" "$(packages_hash)" install_packages
  ENTERING=1 LINNET_INSIDE=root in_root "$REPLY" "$LINNET_CHECKOUT/tools/dev" "$@"
  exit
}

# --- the peers' root -------------------------------------------------------------------------------------------------

install_peers() {
  in_root "$1" bash -c 'set -e
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq update
    apt-get -qq -y install llama.cpp llama.cpp-tools llama.cpp-tools-extra libggml0 python3-gguf python3-transformers python3-torch \
      python3-safetensors python3-tokenizers python3-sentencepiece python3-accelerate libopenblas0-pthread
    # Debian'"'"'s gguf package lists no module names, without which Transformers does not see it and reads no GGUF file.
    for d in /usr/lib/python3/dist-packages/gguf-*.dist-info; do echo gguf >"$d/top_level.txt"; done' >&2
}

ensure_peers() {  # from inside the toolchain's root too, once the peers' root is there
  ensure_root peers "$PEERS_SUITE" 1 install_peers
}

peers_run() {
  ensure_peers
  if [[ $# == 0 ]]; then
    say "peers: ready in $REPLY; run a command there with: tools/dev peers llama-bench --help"
    return
  fi
  in_root "$REPLY" "$@"
}

# --- the root that builds for AArch64 --------------------------------------------------------------------------------

# One of its own, because some -dev packages are for one architecture at a time. It has what is marked =cross for this
# machine and, of everything else, the -dev packages for the target.
install_cross() {
  in_root "$1" bash -c 'dpkg --add-architecture arm64 && apt-get -qq update' >&2 || return
  local target
  # What is the same for every architecture has no name with one.
  target=$(package_names | grep -e '-dev$' | in_root "$1" bash -c '
    while read -r p; do
      if apt-cache show "$p:arm64" >/dev/null 2>&1; then echo "$p:arm64"; else echo "$p"; fi
    done') || return
  PACKAGES_INSTEAD="$(package_names cross) $target" install_packages "$1"
}

cross_hash() {
  { package_names; package_names sid; package_names cross; declare -f install_packages install_cross make_root; } | sha256sum | cut -c1-16
}

ensure_cross() {  # from inside the toolchain's root too, once this one is there
  case $(uname -m) in
    x86_64) ;;
    aarch64) die "this machine is an AArch64 one: nothing to cross-build; use the preset release" ;;
    *) die "AArch64 is cross-built on x86-64 only, not on $(uname -m)" ;;
  esac
  ensure_root aarch64 "$ROOT_SUITE" "$(cross_hash)" install_cross
}

cross_run() {
  ensure_cross
  if [[ $# == 0 ]]; then
    say "cross: ready in $REPLY; run a command there with: tools/dev cross ctest --test-dir build/aarch64"
    return
  fi
  in_root "$REPLY" env LINNET_INSIDE=cross "$@"
}
