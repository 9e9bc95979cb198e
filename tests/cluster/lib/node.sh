# shellcheck shell=bash
# shellcheck disable=SC2153 # STATE is a setting
# One node: containerd, kubelet and kube-proxy in the node's network namespace.

node_up() {
  local node=$1 nodes=$2
  network_node_up "$node" "$nodes"
  cgroup_node_up "$node"
  node_pki "$node"
  node_config_containerd "$node"
  node_config_kubelet "$node"
  node_config_proxy "$node"
  node_start "$node"
}

node_pki() {
  local node=$1 name
  name=$(node_name "$node")
  pki_cert "$PKI" ca "$name" "/O=system:nodes/CN=system:node:$name" "DNS:$name,IP:$(node_ip "$node")"
  pki_kubeconfig "$(node_state "$node")/kubelet.kubeconfig" "$API_URL" "$PKI" "$name"
}

node_config_containerd() {
  local node=$1 state run
  state=$(node_state "$node")
  run=$(node_run "$node")
  mkdir -p "$state/containerd" "$state/opt" "$run/containerd" "$run/runc"
  # restrict_oom_score_adj: without CAP_SYS_RESOURCE runc cannot lower oom_score_adj, and every
  # sandbox would fail with "can't get final child's PID from pipe: EOF".
  write_if_changed "$state/containerd.toml" <<EOF
version = 2
root = "$state/containerd"
state = "$run/containerd"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing",
]
[grpc]
  address = "$(node_socket "$node")"
[plugins."io.containerd.internal.v1.opt"]
  path = "$state/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "$PAUSE_IMAGE"
  netns_mounts_under_state_dir = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$CNI_BIN"
    conf_dir = "$state/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
        Root = "$run/runc"
EOF
  write_if_changed "$state/cni/10-wsc-cluster.conflist" <<EOF
{
  "cniVersion": "0.4.0",
  "name": "wsc-cluster",
  "plugins": [
    {
      "type": "bridge",
      "bridge": "cni0",
      "isGateway": true,
      "hairpinMode": true,
      "ipMasq": false,
      "ipam": {
        "type": "host-local",
        "dataDir": "$run/ipam",
        "ranges": [[{"subnet": "$(node_pod_net "$node")", "gateway": "$(node_gateway "$node")"}]],
        "routes": [{"dst": "0.0.0.0/0"}]
      }
    }
  ]
}
EOF
}

node_config_kubelet() {
  local node=$1 state name
  state=$(node_state "$node")
  name=$(node_name "$node")
  write_if_changed "$state/resolv.conf" </dev/null
  # Image garbage collection is off (threshold 100): a collected image could not be pulled again.
  # protectKernelDefaults stays false, so kubelet sets some sysctls of the host; down restores them.
  write_if_changed "$state/kubelet.yaml" <<EOF
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $(node_ip "$node")
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: $PKI/ca.crt}
authorization: {mode: Webhook}
tlsCertFile: $PKI/$name.crt
tlsPrivateKeyFile: $PKI/$name.key
containerRuntimeEndpoint: unix://$(node_socket "$node")
cgroupDriver: cgroupfs
cgroupRoot: /$CGROUP/n$node
enforceNodeAllocatable: []
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
makeIPTablesUtilChains: false
clusterDNS: [$DNS_IP]
clusterDomain: cluster.local
resolvConf: $state/resolv.conf
podLogsDir: $state/pod-logs
volumePluginDir: $state/volume-plugins
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%}
maxPods: 200
nodeStatusUpdateFrequency: 5s
EOF
}

node_config_proxy() {
  local node=$1
  write_if_changed "$(node_state "$node")/kube-proxy.yaml" <<EOF
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clusterCIDR: $POD_NET
hostnameOverride: $(node_name "$node")
clientConnection: {kubeconfig: $STATE/proxy.kubeconfig}
healthzBindAddress: $(node_ip "$node"):10256
metricsBindAddress: 127.0.0.1:10249
# In a network namespace the sysctl of the conntrack table is read-only.
conntrack: {maxPerCore: 0, min: 0}
oomScoreAdj: 0
EOF
}

node_start() {
  local node=$1 state run name netns log
  state=$(node_state "$node")
  run=$(node_run "$node")
  name=$(node_name "$node")
  netns=$(node_netns "$node")
  log=$LOGS/n$node
  process_ensure "$run/containerd.pid" "$log-containerd.log" nsenter --net="$netns" \
    containerd --config "$state/containerd.toml" --log-level warn
  wait_until 30 "containerd of $name" ctr --address "$(node_socket "$node")" version || true
  process_must_live "$run/containerd.pid" "containerd of $name" "$log-containerd.log"
  image_import_node "$node"
  process_ensure "$run/kubelet.pid" "$log-kubelet.log" nsenter --net="$netns" "$BIN/kubelet" \
    --config "$state/kubelet.yaml" --kubeconfig "$state/kubelet.kubeconfig" \
    --root-dir "$state/kubelet" --cert-dir "$state/kubelet/pki" --node-ip "$(node_ip "$node")" \
    --hostname-override "$name" --node-labels "topology.kubernetes.io/zone=z$node"
  process_ensure "$run/kube-proxy.pid" "$log-kube-proxy.log" nsenter --net="$netns" "$BIN/kube-proxy" \
    --config "$state/kube-proxy.yaml"
}

node_ready() {
  [[ $(kubectl_admin get node "$(node_name "$1")" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}') == True ]]
}

# node_must_be_ready N: waits for the node, and says what its log says if it does not come.
node_must_be_ready() {
  local node=$1 log=$LOGS/n$1-kubelet.log
  wait_until 90 "node $(node_name "$node") Ready" node_ready "$node" && return
  process_must_live "$(node_run "$node")/kubelet.pid" "kubelet of $(node_name "$node")" "$log"
  kubectl_admin describe node "$(node_name "$node")" >&2 || true
  die "node $(node_name "$node") does not become Ready" "log: $log"
}

# The numbers of all nodes that have anything on this machine.
nodes_present() {
  local dir
  for dir in "$STATE"/n[1-9] "$RUN"/n[1-9]; do
    if [[ -d $dir ]]; then echo "${dir##*/n}"; fi
  done | sort -un
}
