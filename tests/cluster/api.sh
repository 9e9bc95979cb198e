#!/usr/bin/env bash
# A Kubernetes API with no nodes, for tests of the operator: etcd, API server and controllers on free
# loopback ports. Objects live, controllers act, but no pod ever runs. Needs no root. Any number may run
# at once, each in a folder of its own.
#
#   api.sh up DIR     starts one in DIR (new, empty, or one that runs) and prints export KUBECONFIG=...
#   api.sh run DIR    the same, then waits; stops it on INT, TERM or the end of its standard input, so
#                     that a test that dies takes it along
#   api.sh down DIR   stops it and removes DIR
#   api.sh --help     this text
#
# In DIR: kubeconfig (administrator), audit.log (one JSON object per line: every request at level
# Metadata, without the stage RequestReceived), *.log of the programs, *.pid (pid and start time).
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib/settings.sh"
for part in say packages process pki; do
  # shellcheck source=/dev/null
  . "$CLUSTER_HOME/lib/$part.sh"
done

# free_ports COUNT: prints loopback ports below the range from which the kernel takes outgoing ones.
free_ports() {
  local count=$1 port seen=' '
  while ((count > 0)); do
    port=$((20000 + RANDOM % 12000))
    if [[ $seen != *" $port "* ]] && ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
      seen+="$port "
      echo "$port"
      count=$((count - 1))
    fi
  done
}

stop() {
  process_stop 2 "$dir/controller-manager.pid" "$dir/apiserver.pid"
  process_stop 2 "$dir/etcd.pid"
}

running() {
  process_alive "$dir/etcd.pid" && process_alive "$dir/apiserver.pid" && process_alive "$dir/controller-manager.pid"
}

kubectl_here() { "$BIN/kubectl" --kubeconfig "$dir/kubeconfig" --cache-dir "$dir/kubectl" --request-timeout 5s "$@"; }

certificates() {
  pki_ca "$dir/pki" ca
  pki_service_account_key "$dir/pki"
  pki_cert "$dir/pki" ca apiserver /CN=kube-apiserver "DNS:localhost,DNS:kubernetes.default.svc,IP:127.0.0.1"
  pki_cert "$dir/pki" ca admin /O=system:masters/CN=admin
  pki_cert "$dir/pki" ca controller-manager /CN=system:kube-controller-manager
}

# start: with new ports each time. The controllers start when the API server answers.
start() {
  local ports etcd peer pki=$dir/pki
  mapfile -t ports < <(free_ports 3)
  etcd=http://127.0.0.1:${ports[0]} peer=http://127.0.0.1:${ports[1]}
  pki_kubeconfig "$dir/kubeconfig" "https://127.0.0.1:${ports[2]}" "$pki" admin
  pki_kubeconfig "$dir/controller-manager.kubeconfig" "https://127.0.0.1:${ports[2]}" "$pki" controller-manager
  write_if_changed "$dir/audit-policy.yaml" <<'EOF'
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata
EOF
  rm -rf "$dir/etcd"
  process_ensure "$dir/etcd.pid" "$dir/etcd.log" "$BIN/etcd" --name wsc-api --data-dir "$dir/etcd" --unsafe-no-fsync \
    --log-level warn --listen-client-urls "$etcd" --advertise-client-urls "$etcd" \
    --listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" --initial-cluster "wsc-api=$peer"
  # There are no nodes that could reach the kubernetes Service, so nothing keeps its endpoints.
  process_ensure "$dir/apiserver.pid" "$dir/apiserver.log" "$BIN/kube-apiserver" \
    --etcd-servers "$etcd" --bind-address 127.0.0.1 --advertise-address 127.0.0.1 --secure-port "${ports[2]}" \
    --endpoint-reconciler-type none --service-cluster-ip-range "$SERVICE_NET" --allow-privileged \
    --authorization-mode RBAC --client-ca-file "$pki/ca.crt" \
    --tls-cert-file "$pki/apiserver.crt" --tls-private-key-file "$pki/apiserver.key" \
    --service-account-issuer https://kubernetes.default.svc.cluster.local \
    --service-account-key-file "$pki/sa.pub" --service-account-signing-key-file "$pki/sa.key" \
    --audit-policy-file "$dir/audit-policy.yaml" --audit-log-path "$dir/audit.log" --audit-log-maxsize 4096 --audit-log-format json
  wait_until 60 "API server ready" ready_or_dead || true
  process_alive "$dir/etcd.pid" && process_alive "$dir/apiserver.pid" && kubectl_here get --raw /readyz >/dev/null 2>&1 || return 1
  process_ensure "$dir/controller-manager.pid" "$dir/controller-manager.log" "$BIN/kube-controller-manager" \
    --kubeconfig "$dir/controller-manager.kubeconfig" --secure-port 0 --leader-elect=false \
    --use-service-account-credentials --service-account-private-key-file "$pki/sa.key" --root-ca-file "$pki/ca.crt" \
    --cluster-signing-cert-file "$pki/ca.crt" --cluster-signing-key-file "$pki/ca.key" \
    --kube-api-qps 200 --kube-api-burst 400
  # Without this account no pod can be created, so it marks the point from which tests may begin.
  wait_until 30 "controllers at work" account_or_dead || true
  running && kubectl_here -n default get serviceaccount default >/dev/null 2>&1
}

ready_or_dead() {
  ! process_alive "$dir/etcd.pid" || ! process_alive "$dir/apiserver.pid" || kubectl_here get --raw /readyz
}

account_or_dead() { ! running || kubectl_here -n default get serviceaccount default; }

up() {
  local attempt
  [[ -x $BIN/kube-apiserver ]] || "$CLUSTER_HOME/build.sh" --api
  packages_need "the certificates" openssl=openssl
  if [[ -e $dir/wsc-api ]] && running; then
    say "the API in $dir runs already"
    return
  fi
  if [[ -d $dir && ! -e $dir/wsc-api && -n $(ls -A "$dir") ]]; then
    die "$dir is not empty and was not made by this program" "choose another folder"
  fi
  mkdir -p "$dir/pki"
  chmod 0700 "$dir"
  # down removes only folders that hold this file.
  : >"$dir/wsc-api"
  certificates
  trap 'stop' EXIT
  for attempt in 1 2 3; do
    if start; then
      trap - EXIT
      say "the API is ready: $dir/kubeconfig"
      return
    fi
    stop
    # Another program may have taken one of the ports in the meantime.
    if ! grep -qs 'address already in use' "$dir"/*.log || ((attempt == 3)); then break; fi
    say "a port was taken, trying others"
    rm -f "$dir"/*.log
  done
  tail -n 8 "$dir"/*.log >&2 || true
  die "the API in $dir does not start; the ends of the logs are above"
}

down() {
  if [[ ! -e $dir ]]; then
    say "there is nothing in $dir"
    return
  fi
  [[ -e $dir/wsc-api ]] || die "$dir was not made by this program, so it is left alone"
  stop
  rm -rf "$dir"
}

run() {
  up
  trap down EXIT
  trap 'exit 0' INT TERM
  printf 'export KUBECONFIG=%q\n' "$dir/kubeconfig"
  while read -r _; do :; done
}

case ${1:-} in
  up | down | run)
    (($# == 2)) || usage_error "$1 needs one folder"
    mkdir -p "$(dirname "$2")"
    dir=$(cd "$(dirname "$2")" && pwd)/$(basename "$2")
    "$1"
    if [[ $1 == up ]]; then printf 'export KUBECONFIG=%q\n' "$dir/kubeconfig"; fi ;;
  -h | --help) help_from "$0" ;;
  '') help_from "$0" >&2; exit 64 ;;
  *) usage_error "unknown command $1" ;;
esac
