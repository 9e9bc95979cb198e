# shellcheck shell=bash
# What runs inside the cluster from the start: DNS and the metrics API.

dns_up() {
  local nodes=$1
  sed -e "s|@DNS_IP@|$DNS_IP|; s|@IMAGE@|$COREDNS_IMAGE|; s|@REPLICAS@|$nodes|" "$CLUSTER_HOME/manifests/coredns.yaml" |
    kubectl_admin apply --server-side --force-conflicts -f - >/dev/null
}

dns_ready() {
  [[ $(kubectl_admin -n kube-system get deployment coredns -o 'jsonpath={.status.readyReplicas}') -ge 1 ]]
}

dns_must_be_ready() {
  wait_until 90 "cluster DNS ready" dns_ready && return
  kubectl_admin -n kube-system describe pods -l k8s-app=kube-dns | tail -n 40 >&2 || true
  die "cluster DNS does not become ready; its pods are described above"
}

metrics_up() {
  local nodes=$1
  sed -e "s|@IMAGE@|$METRICS_SERVER_IMAGE|; s|@REPLICAS@|$nodes|" "$CLUSTER_HOME/manifests/metrics-server.yaml" |
    kubectl_admin apply --server-side --force-conflicts -f - >/dev/null
}

# An API group that is announced and does not answer would disturb whoever asks what there is.
metrics_ready() {
  [[ $(kubectl_admin get apiservice v1beta1.metrics.k8s.io -o 'jsonpath={.status.conditions[?(@.type=="Available")].status}') == True ]]
}

metrics_must_be_ready() {
  wait_until 90 "metrics API ready" metrics_ready && return
  kubectl_admin -n kube-system describe pods -l k8s-app=metrics-server | tail -n 40 >&2 || true
  die "the metrics API does not answer; its pods are described above"
}
