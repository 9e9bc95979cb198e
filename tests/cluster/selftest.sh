#!/usr/bin/env bash
# Proves that the test cluster is a Kubernetes: starts it if need be and tries what the project relies on.
#
#   selftest.sh          nodes, DNS, StatefulSet, Services, port-forward, eviction, deletion; works in a
#                        namespace of its own and disturbs nobody else
#   selftest.sh --all    also kills servers and mends them, and at last takes the cluster down and looks
#                        for anything left on the machine
#   selftest.sh --help   this text
#
# Needs root and, for its pods, the image of Redis (made here if there is none).
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib/settings.sh"
for part in say packages process network cgroup image host teardown; do
  # shellcheck source=/dev/null
  . "$CLUSTER_HOME/lib/$part.sh"
done

all=0
case ${1:-} in
  '') ;;
  --all) all=1 ;;
  -h | --help) help_from "$0"; exit 0 ;;
  *) usage_error "unknown argument $1" ;;
esac
need_root "selftest.sh" "$@"

"$CLUSTER_HOME/cluster.sh" up
packages_need "the selftest's pods" redis-server=redis-server redis-cli=redis-tools jq=jq
PATH=$BIN:$PATH
export KUBECONFIG=$ADMIN_KUBECONFIG
space=wsc-selftest-$$
image=$("$CLUSTER_HOME/image.sh" "$IMAGES/wsc-selftest.tar" wsc-selftest:dev --user 999:999 --dir /data --workdir /data \
  "$(command -v redis-server)=/usr/bin/redis-server" "$(command -v redis-cli)=/usr/bin/redis-cli")
forward=
cleanup() {
  if [[ -n $forward ]]; then kill "$forward" 2>/dev/null || true; fi
  rm -f "$IMAGES/wsc-selftest.tar"
  if [[ -e $RUN/apiserver.pid ]]; then kubectl delete namespace "$space" --ignore-not-found --wait=false >/dev/null 2>&1 || true; fi
}
trap cleanup EXIT
"$CLUSTER_HOME/cluster.sh" load "$IMAGES/wsc-selftest.tar"

passed=0 failed=0
# check WHAT COMMAND...: one line per check.
check() {
  local what=$1 output
  shift
  if output=$("$@" 2>&1); then
    passed=$((passed + 1))
    say "ok      $what"
  else
    failed=$((failed + 1))
    say "FAILED  $what"
    printf '%s\n' "${output:-it says nothing}" | tail -n 12 | sed 's/^/        /' >&2
  fi
}

in_pod() { timeout 20 kubectl -n "$space" exec "$1" -- "${@:2}"; }
pod_field() { kubectl -n "$space" get pod "$1" -o "jsonpath={$2}"; }
run_id() { sed -n 's/^run_id:\([0-9a-f]*\).*/\1/p'; }
host_redis() { timeout 5 redis-cli "$@"; }

nodes_in_two_zones() {
  [[ $(kubectl get nodes -L topology.kubernetes.io/zone --no-headers | awk '$2 == "Ready" {print $6}' | sort | head -n 2 | xargs) == "z1 z2" ]]
}
up_again_changes_nothing() {
  local before
  before=$(cat "$RUN"/*.pid "$RUN"/n*/*.pid)
  "$CLUSTER_HOME/cluster.sh" up && [[ $(cat "$RUN"/*.pid "$RUN"/n*/*.pid) == "$before" ]]
}
objects_applied() {
  kubectl create namespace "$space" &&
    sed "s|@IMAGE@|wsc-selftest:dev|" "$CLUSTER_HOME/manifests/selftest.yaml" | kubectl -n "$space" apply -f -
}
three_ready() { kubectl -n "$space" wait --for=jsonpath='{.status.readyReplicas}'=3 statefulset/redis --timeout=60s; }
on_both_nodes() { [[ $(kubectl -n "$space" get pods -o jsonpath='{.items[*].spec.nodeName}' | xargs -n1 | sort -u | wc -l) -ge 2 ]]; }
pod_name_resolves() { [[ $(in_pod redis-0 redis-cli -h "redis-2.redis.$space.svc.cluster.local" ping) == PONG ]]; }
short_name_resolves() { [[ $(in_pod redis-1 redis-cli -h redis-any ping) == PONG ]]; }
unknown_name_fails() {
  local answer
  answer=$(in_pod redis-0 redis-cli -h "redis-9.redis.$space.svc.cluster.local" ping 2>&1) && return 1
  [[ $answer == *"not known"* ]]
}
# The ids of the three servers, as a Service shows them over 60 connections.
balanced_from_host() {
  local address
  address=$(kubectl -n "$space" get service redis-any -o 'jsonpath={.spec.clusterIP}')
  [[ $(for _ in {1..60}; do host_redis -h "$address" info server | run_id; done | sort -u | wc -l) == 3 ]]
}
balanced_from_pods() {
  local pod
  for pod in redis-0 redis-1 redis-2; do
    [[ $(for _ in {1..25}; do in_pod "$pod" redis-cli -h redis-any info server | run_id; done | sort -u | wc -l) == 3 ]] || return 1
  done
}
host_reaches_pods() {
  local pod
  for pod in redis-0 redis-1 redis-2; do
    [[ $(host_redis -h "$(pod_field $pod .status.podIP)" ping) == PONG ]] || return 1
  done
}
pods_reach_api() { [[ $(in_pod redis-0 redis-cli -h kubernetes.default -p 443 ping 2>&1) == *"closed the connection"* ]]; }
port_forwarded() {
  local log port
  log=$(mktemp)
  kubectl -n "$space" port-forward pod/redis-1 :6379 >"$log" 2>&1 &
  forward=$!
  wait_until 10 "port-forward" grep -q Forwarding "$log"
  port=$(sed -n 's/.*127.0.0.1:\([0-9]*\) .*/\1/p' "$log" | head -n 1)
  [[ $(host_redis -p "$port" info server | run_id) == "$(in_pod redis-1 redis-cli info server | run_id)" ]]
  local result=$?
  kill "$forward"
  rm -f "$log"
  return "$result"
}
logs_read() { kubectl -n "$space" logs redis-0 | grep 'Ready to accept connections'; }
digest_runs() {
  kubectl -n "$space" run by-digest --image="${image/docker.io\/library\//}" --image-pull-policy=IfNotPresent --restart=Never &&
    kubectl -n "$space" wait --for=condition=Ready pod/by-digest --timeout=30s
}
absent_image_fails() {
  kubectl -n "$space" run absent --image=wsc-selftest:absent --restart=Never &&
    wait_until 30 "image error" image_error
}
image_error() { pod_field absent '.status.containerStatuses[0].state.waiting.reason' | grep -E 'ErrImagePull|ImagePullBackOff'; }
metrics_known() { wait_until 60 "samples of the pods" kubectl -n "$space" top pod redis-0 && kubectl top nodes; }
evict() {
  kubectl create --raw "/api/v1/namespaces/$space/pods/$1/eviction" -f - <<<'{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"'"$1"'","namespace":"'"$space"'"}}'
}
budget_known() { [[ $(kubectl -n "$space" get pdb redis -o 'jsonpath={.status.disruptionsAllowed}') == 1 ]]; }
first_eviction_allowed() { wait_until 20 "budget of one" budget_known && evict redis-2; }
second_eviction_refused() {
  local answer
  answer=$(evict redis-1 2>&1) && return 1
  grep 'disruption budget' <<<"$answer" >/dev/null
}
deleted_pod_returns() {
  local uid
  uid=$(pod_field redis-0 .metadata.uid)
  kubectl -n "$space" delete pod redis-0 && three_ready && [[ $(pod_field redis-0 .metadata.uid) != "$uid" ]]
}
servers_mended() {
  local ids name
  ids=$(for name in 0 1 2; do in_pod redis-$name redis-cli info server | run_id; done)
  for name in etcd apiserver scheduler controller-manager n1/kubelet n1/containerd n2/kubelet n2/kube-proxy; do
    kill -KILL "$(process_pid "$RUN/$name.pid")"
  done
  "$CLUSTER_HOME/cluster.sh" up && three_ready &&
    [[ $(for name in 0 1 2; do in_pod redis-$name redis-cli info server | run_id; done) == "$ids" ]]
}
lost_link_mended() {
  local link
  link=$(node_name 2)
  ip link set "$link" down
  wait_until 60 "node lost" node_unknown || return 1
  "$CLUSTER_HOME/cluster.sh" up && three_ready
}
node_unknown() { kubectl get node "$(node_name 2)" --no-headers | grep NotReady; }
all_deleted() {
  kubectl delete namespace "$space" --timeout=90s && ! kubectl get namespace "$space"
}
kept_objects_return() {
  kubectl create namespace "$space" && "$CLUSTER_HOME/cluster.sh" down --keep && "$CLUSTER_HOME/cluster.sh" up && kubectl get namespace "$space" && all_deleted
}
nothing_is_left() { "$CLUSTER_HOME/cluster.sh" down && [[ -z $(teardown_left) ]]; }
folders_removed() {
  local folder
  for folder in "${HOST_FOLDERS[@]}"; do
    if [[ -e $folder && $1 != *"$folder"* ]]; then echo "$folder is there"; return 1; fi
  done
}
sysctls_restored() { [[ $(host_values) == "$1" ]]; }
host_values() {
  local name
  for name in "${HOST_SYSCTLS[@]}"; do echo "$name $(cat "$RUN/before/${name//\//.}" 2>/dev/null || cat "/proc/sys/$name")"; done
}

before=$(host_values)
folders=$(cat "$RUN/before/folders")
check "two nodes are Ready, in zones z1 and z2" nodes_in_two_zones
check "a second up changes no process" up_again_changes_nothing
check "a StatefulSet, Services and a budget are accepted" objects_applied
check "three pods become Ready" three_ready
check "they are spread over both nodes" on_both_nodes
check "a pod's own name resolves in another pod" pod_name_resolves
check "a Service's short name resolves" short_name_resolves
check "the name of a pod that is not there does not" unknown_name_fails
check "a Service reaches all three pods from the host" balanced_from_host
check "a Service reaches all three pods from each pod" balanced_from_pods
check "the host reaches each pod by its address" host_reaches_pods
check "pods reach the API server" pods_reach_api
check "port-forward reaches the named pod" port_forwarded
check "logs can be read" logs_read
check "the metrics API knows the pods and the nodes" metrics_known
check "an image can be named by its digest" digest_runs
check "an absent image is reported, not awaited forever" absent_image_fails
check "the budget allows one eviction" first_eviction_allowed
check "and refuses the second" second_eviction_refused
check "the evicted pod returns" three_ready
check "a deleted pod returns under its name" deleted_pod_returns
if ((all)); then
  check "killed servers are mended by up, and pods lived through it" servers_mended
  check "a node whose link is down is noticed, and mended by up" lost_link_mended
fi
check "a namespace is deleted with all that is in it" all_deleted
if ((all)); then
  check "down --keep and up bring the objects back" kept_objects_return
  check "down leaves nothing on the machine" nothing_is_left
  check "down removes the folders that containerd, CNI and kubelet made" folders_removed "$folders"
  check "down restores the settings of the kernel" sysctls_restored "$before"
fi
say "$passed passed, $failed failed"
((failed == 0))
