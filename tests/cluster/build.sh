#!/usr/bin/env bash
# Builds the programs of the test cluster from Go modules: Kubernetes (API server, controllers,
# scheduler, kubelet, kube-proxy, kubectl) and etcd as one program, CoreDNS, pause, metrics-server and helm.
#
#   build.sh            builds what is missing of these (about 15 minutes on two cores the first time)
#   build.sh --api      only Kubernetes and etcd, which is all that api.sh needs
#   build.sh --helm     only helm
#   build.sh --traefik  only Traefik, which ingress.sh needs (about 5 minutes the first time)
#   build.sh --where    prints the folder with the programs and builds nothing
#   build.sh --help     this text
#
# Everything is kept in $WSC_CACHE (default: ${XDG_CACHE_HOME:-~/.cache}/wsc), by version, so that only
# the first build is slow. It may be interrupted and repeated at any time. Needs Go 1.24 or newer (metrics-server
# asks for a newer one, which Go fetches by itself), about 4 GB of memory and 9 GB of disk (mostly Go's own
# caches); no root.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib/settings.sh"
. "$CLUSTER_HOME/lib/say.sh"
. "$CLUSTER_HOME/lib/packages.sh"

what=all
case ${1:-} in
  '') ;;
  --api) what=api ;;
  --helm) what=helm ;;
  --traefik) what=traefik ;;
  --where) echo "$BIN"; exit 0 ;;
  -h | --help) help_from "$0"; exit 0 ;;
  *) usage_error "unknown argument $1" ;;
esac

mkdir -p "$BIN" "$CACHE/programs" "$CACHE/logs"
exec 9>"$CACHE/build.lock"
if ! flock --nonblock 9; then
  say "another build is running, waiting for it"
  flock 9
fi

temporary=
heart=
cleanup() {
  if [[ -n $heart ]]; then kill "$heart" 2>/dev/null || true; fi
  if [[ -n $temporary ]]; then rm -rf "$temporary"; fi
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# ld_flags PACKAGE... : what `kubectl version` and the API server call themselves. The date is fixed, so
# that the same sources give the same bytes.
ld_flags() {
  local package minor=${KUBERNETES_VERSION#1.}
  printf '%s' '-s -w'
  for package in "$@"; do
    printf ' -X %s.gitVersion=v%s -X %s.gitMajor=1 -X %s.gitMinor=%s -X %s.gitTreeState=clean -X %s.buildDate=1970-01-01T00:00:00Z' \
      "$package" "$KUBERNETES_VERSION" "$package" "$package" "${minor%.*}" "$package" "$package"
  done
}

# beat LOG TOTAL: a line every half minute, because a build is silent for many minutes.
beat() {
  local begin=$SECONDS
  while sleep 30; do
    say "  still building, $(((SECONDS - begin) / 60)) min $(((SECONDS - begin) % 60)) s; $(wc -l <"$1") packages compiled of at most $2"
  done
}

# build NAME VERSION DURATION TOTAL FOLDER COMMAND...: runs the command in the folder with OUT set to where
# the program must be put, unless this version was built from the same inputs before; links it into bin.
build() {
  local name=$1 version=$2 duration=$3 total=$4 folder=$5 key place log
  shift 5
  key=$( (printf '%s\n' "$version" "$*"; cd "$folder"; cat ./*.go go.mod go.sum 2>/dev/null || true) | sha256sum | cut -c1-12)
  place=$CACHE/programs/$name-$version-$key
  if [[ ! -x $place/$name ]]; then
    need_go "building $name"
    log=$CACHE/logs/build-$name.log
    say "building $name $version, about $duration on two free cores the first time (log: $log)"
    temporary=$place.new.$$
    mkdir -p "$temporary"
    : >"$log"
    beat "$log" "$total" 9>&- &
    heart=$!
    if ! (cd "$folder" && OUT=$temporary CGO_ENABLED=0 "$@") >>"$log" 2>&1 9>&-; then
      tail -n 20 "$log" >&2
      die "cannot build $name $version; the end of its log is above" "whole log: $log" "repeat: $0"
    fi
    kill "$heart"
    wait "$heart" 2>/dev/null || true
    heart=
    mv "$temporary" "$place"
    temporary=
    say "built $name $version, $(du -h "$place/$name" | cut -f1)"
  fi
  link "$name" "$place/$name"
}

# link NAME PROGRAM: replaces the link in one step, so that nobody finds it missing.
link() {
  if [[ $(readlink "$BIN/$1" 2>/dev/null || true) != "$2" ]]; then
    ln -s "$2" "$BIN/.$1.$$"
    mv -T "$BIN/.$1.$$" "$BIN/$1"
  fi
}

# go_build FLAGS [PACKAGE]: builds the module in the current folder, or a package that it names. -v lists packages,
# for the progress lines.
go_build() { go build -v -mod=readonly -buildvcs=false -trimpath -ldflags "$1" -o "$OUT/" "${2:-.}"; }

build_kubernetes() {
  local name
  build kubernetes "v$KUBERNETES_VERSION" "8 minutes" 2760 "$CLUSTER_HOME/kubernetes" \
    go_build "$(ld_flags k8s.io/component-base/version k8s.io/client-go/pkg/version)"
  for name in etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl; do
    link "$name" "$(readlink "$BIN/kubernetes")"
  done
}

build_helm() {
  local version=$HELM_VERSION minor=${KUBERNETES_VERSION#1.}
  # helm is a whole module of its own; it needs no wrapper. Its notion of the newest Kubernetes, which
  # `helm template` gives to charts, is set as its own release build does.
  build helm "v$version" "2 minutes" 1100 "$CACHE" helm_install \
    "-s -w -X helm.sh/helm/v3/internal/version.version=v$version -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=${minor%.*} -X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor=${minor%.*}"
}
helm_install() { GOBIN=$OUT GOFLAGS=-mod=mod go install -v -trimpath -ldflags "$1" "helm.sh/helm/v3/cmd/helm@v$HELM_VERSION"; }

build_metrics_server() {
  build metrics-server "v$METRICS_SERVER_VERSION" "3 minutes" 1340 "$CLUSTER_HOME/metrics-server" \
    go_build "-s -w -X k8s.io/component-base/version.gitVersion=v$METRICS_SERVER_VERSION"
}

# Traefik's program is in its own module; the folder holds the module that names its version.
build_traefik() {
  build traefik "v$TRAEFIK_VERSION" "5 minutes" 2410 "$CLUSTER_HOME/traefik" \
    go_build "-s -w -X github.com/traefik/traefik/v3/pkg/version.Version=v$TRAEFIK_VERSION" github.com/traefik/traefik/v3/cmd/traefik
}

case $what in
  api) build_kubernetes ;;
  helm) build_helm ;;
  traefik) build_traefik ;;
  all)
    build_kubernetes
    build coredns "v$COREDNS_VERSION" "2 minutes" 900 "$CLUSTER_HOME/coredns" go_build "-s -w -X github.com/coredns/coredns/coremain.GitCommit=v$COREDNS_VERSION"
    build pause dev "5 seconds" 60 "$CLUSTER_HOME/pause" go_build "-s -w"
    build_metrics_server
    build_helm
    ;;
esac
say "programs are in $BIN"
