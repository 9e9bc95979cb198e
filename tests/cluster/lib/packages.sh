# shellcheck shell=bash
# Debian packages that the scripts need.

# packages_need WHY PROGRAM=PACKAGE...: installs the packages of those programs (names on PATH, or
# absolute paths) that are missing; where it cannot, fails and names them and the command.
packages_need() {
  local why=$1 pair missing=() packages=()
  shift
  for pair in "$@"; do
    [[ $pair == *=* ]] || die "packages_need: not PROGRAM=PACKAGE: $pair"
    if ! program_exists "${pair%%=*}"; then
      missing+=("${pair%%=*}")
      packages+=("${pair#*=}")
    fi
  done
  ((${#missing[@]})) || return 0
  mapfile -t packages < <(printf '%s\n' "${packages[@]}" | sort -u)
  local command="apt-get install -y --no-install-recommends ${packages[*]}"
  if ! command -v apt-get >/dev/null; then
    die "missing for $why: ${missing[*]}" "this is no Debian-like system: install what Debian calls ${packages[*]}"
  fi
  if ((EUID != 0)); then
    die "missing for $why: ${missing[*]}" "run as root: $command"
  fi
  say "installing ${packages[*]} (for $why)"
  local log
  log=$(mktemp)
  if ! DEBIAN_FRONTEND=noninteractive $command >"$log" 2>&1; then
    # Package lists may be old or absent.
    if ! { apt-get update && DEBIAN_FRONTEND=noninteractive $command; } >"$log" 2>&1; then
      tail -n 20 "$log" >&2
      rm -f "$log"
      die "cannot install packages for $why" "the command was: $command"
    fi
  fi
  rm -f "$log"
  for pair in "$@"; do
    program_exists "${pair%%=*}" || die "package ${pair#*=} does not contain ${pair%%=*} here (for $why)"
  done
}

# /usr/sbin is not on every user's PATH, and programs that need root live there.
program_exists() {
  if [[ $1 == /* ]]; then [[ -e $1 ]]; else PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null; fi
}

need_root() {
  ((EUID == 0)) || die "$1 needs root (network namespaces, mounts, cgroups)" "run: sudo -E $0 ${*:2}"
}

# need_go WHY: Debian 12's own Go is too old, so this cannot be a package to install.
need_go() {
  local found
  command -v go >/dev/null ||
    die "missing for $1: go, version 1.24 or newer" "install it from https://go.dev/dl/ or: apt-get install -t bookworm-backports golang-go"
  found=$(go env GOVERSION)
  [[ $found =~ ^go1\.(2[4-9]|[3-9][0-9]) ]] ||
    die "go 1.24 or newer is needed for $1, found $found" "install it from https://go.dev/dl/"
}
