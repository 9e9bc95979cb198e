#!/usr/bin/env bash
# A real Kubernetes on this machine, for tests: nodes are network namespaces, images are files.
#
#   cluster.sh up             starts the cluster, or mends what died in it
#   cluster.sh down [--keep]  stops it and removes everything; --keep leaves the objects for the next up
#   cluster.sh status         what runs (exit status 0: all of it, 3: no cluster, 1: something is down)
#   cluster.sh env            export lines for kubectl and helm: eval "$(tests/cluster/cluster.sh env)"
#   cluster.sh load TAR...    imports image tars into every node (pods must be replaced to use them)
#   cluster.sh --help         this text
#
# NODES=1..9 sets the number of nodes at the first up (default 2); a later up may add some.
# Needs root, Linux with overlayfs, and Debian's packages, which up installs if they are missing.
# State is in /var/lib/wsc-cluster, run files in /run/wsc-cluster, programs and images in the cache of
# build.sh. Addresses are from 198.18.0.0/15 and exist only on this machine.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib/settings.sh"
for part in say packages process pki network cgroup control_plane image node addons host teardown; do
  # shellcheck source=/dev/null
  . "$CLUSTER_HOME/lib/$part.sh"
done

PATH=$PATH:/usr/sbin:/sbin

# One script at a time; the file is removed by down, so the name may have a new file behind it.
lock() {
  while :; do
    exec 9>"$LOCK"
    if ! flock --nonblock 9; then
      say "another cluster.sh is at work, waiting for it"
      flock 9
    fi
    if [[ $(stat -Lc %i /proc/self/fd/9) == "$(stat -c %i "$LOCK" 2>/dev/null || true)" ]]; then return; fi
  done
}

programs_need() {
  packages_need "the nodes" containerd=containerd ctr=containerd runc=runc "$CNI_BIN/bridge=containernetworking-plugins" \
    nft=nftables iptables=iptables conntrack=conntrack ip=iproute2 openssl=openssl \
    nsenter=util-linux unshare=util-linux setsid=util-linux flock=util-linux findmnt=util-linux mount=mount umount=mount
}

up() {
  local node nodes known
  known=$(cat "$STATE/nodes" 2>/dev/null || echo 0)
  nodes=${NODES:-$((known ? known : 2))}
  [[ $nodes =~ ^[1-9]$ ]] || usage_error "NODES must be 1 to $MAX_NODES: $nodes"
  ((nodes >= known)) || die "the cluster has $known nodes; a running cluster cannot be made smaller" "run: $0 down"
  programs_need
  "$CLUSTER_HOME/build.sh" 9>&-
  lock
  mkdir -p "$STATE" "$RUN" "$LOGS" "$IMAGES"
  chmod 0700 "$STATE"
  echo "$nodes" >"$STATE/nodes"
  image_make_system >/dev/null
  host_save
  # Pods inherit the limit of open files, and each client of a hub is an open file.
  ulimit -Sn "$(ulimit -Hn)"
  network_host_up
  say "starting the control plane"
  control_plane_up
  for ((node = 1; node <= nodes; node++)); do
    say "starting node $(node_name "$node") ($(node_ip "$node"), zone z$node)"
    node_up "$node" "$nodes"
  done
  dns_up "$nodes"
  metrics_up "$nodes"
  for ((node = 1; node <= nodes; node++)); do node_must_be_ready "$node"; done
  say "nodes are Ready"
  dns_must_be_ready
  metrics_must_be_ready
  say "cluster is up: $nodes nodes, Kubernetes v$KUBERNETES_VERSION, context $CONTEXT_NAME"
  say "use it: eval \"\$($0 env)\""
}

down() {
  local keep=$1 left
  lock
  if [[ ! -e $RUN && ! -e $STATE ]]; then
    say "there is no cluster"
  else
    teardown "$keep"
    say "cluster is down"
  fi
  # Process 1 may take a moment to reap.
  wait_until 5 "all processes gone" nothing_left "$keep" || true
  left=$(teardown_left "$keep")
  rm -f "$LOCK"
  [[ -z $left ]] || die "left behind:" "$left"
}

nothing_left() { [[ -z $(teardown_left "$1") ]]; }

status() {
  local file name bad=0 node
  if [[ ! -e $RUN ]]; then
    echo "no cluster runs"
    if [[ -e $STATE ]]; then echo "state is kept in $STATE"; fi
    exit 3
  fi
  printf '%-28s %-8s %s\n' PROCESS PID STATE
  for file in etcd apiserver controller-manager scheduler; do status_line "$RUN/$file.pid" "$file" || bad=1; done
  for node in $(nodes_present); do
    for name in containerd kubelet kube-proxy; do
      status_line "$(node_run "$node")/$name.pid" "$(node_name "$node")/$name" || bad=1
    done
  done
  echo
  kubectl_admin get nodes -o wide --request-timeout 5s || bad=1
  echo
  kubectl_admin get pods -A -o wide --request-timeout 5s || bad=1
  exit "$bad"
}

# status_line FILE NAME
status_line() {
  if process_alive "$1"; then
    printf '%-28s %-8s %s\n' "$2" "$(process_pid "$1")" running
  else
    printf '%-28s %-8s %s\n' "$2" - dead
    return 1
  fi
}

load() {
  local tar node
  (($#)) || usage_error "load needs at least one image tar"
  for tar in "$@"; do [[ -r $tar ]] || die "cannot read image tar $tar"; done
  lock
  [[ -e $RUN ]] || die "no cluster runs, so there is nothing to load into" "run: $0 up"
  for tar in "$@"; do
    for node in $(nodes_present); do
      image_import "$node" "$tar"
    done
    say "loaded $(basename "$tar") into $(nodes_present | wc -l) nodes"
  done
}

command=${1:-}
case $command in
  up)
    (($# == 1)) || usage_error "up takes no arguments"
    need_root "cluster.sh up" "$@"
    up ;;
  down)
    [[ $# == 1 || ($# == 2 && $2 == --keep) ]] || usage_error "down takes only --keep"
    need_root "cluster.sh down" "$@"
    down "$([[ ${2:-} != --keep ]] || echo keep)" ;;
  status) need_root "cluster.sh status" "$@"; status ;;
  load)
    need_root "cluster.sh load" "$@"
    load "${@:2}" ;;
  env)
    # shellcheck disable=SC2016 # the user's shell expands it
    printf 'export KUBECONFIG=%q\nexport PATH=%q:"$PATH"\n' "$ADMIN_KUBECONFIG" "$BIN" ;;
  -h | --help) help_from "$0" ;;
  '') help_from "$0" >&2; exit 64 ;;
  *) usage_error "unknown command $command" ;;
esac
