# shellcheck shell=bash
# One bridge on the host and one network namespace per node. All rules of kube-proxy and CNI live in the
# namespaces and go with them; the host gets the bridge, one veth per node and a route per pod network.

# Refuses to touch a network that is somebody else's.
network_check_free() {
  local line
  while read -r line; do
    [[ -z $line || $line == *"dev $BRIDGE"* ]] ||
      die "addresses of 198.18.0.0/15 are already in use on this machine" "route: $line"
  done < <(ip route show table all root 198.18.0.0/15)
}

network_host_up() {
  local policy chain
  network_check_free
  if ! ip link show "$BRIDGE" >/dev/null 2>&1; then
    ip link add "$BRIDGE" type bridge
  fi
  ip address replace "$HOST_IP/${NODE_NET#*/}" dev "$BRIDGE"
  ip link set "$BRIDGE" up
  # Docker and firewalls set these policies to DROP and would cut the nodes off from each other and
  # from the API server.
  for chain in INPUT FORWARD; do
    policy=$(iptables -S "$chain" 2>/dev/null | head -n 1) || true
    if [[ $policy == *DROP* ]] && ! iptables -C "$chain" -i "$BRIDGE" -j ACCEPT 2>/dev/null; then
      say "accepting traffic from $BRIDGE in iptables $chain (its policy is DROP)"
      iptables -I "$chain" -i "$BRIDGE" -j ACCEPT
    fi
  done
}

network_host_down() {
  local chain
  for chain in INPUT FORWARD; do
    while iptables -C "$chain" -i "$BRIDGE" -j ACCEPT 2>/dev/null; do
      iptables -D "$chain" -i "$BRIDGE" -j ACCEPT
    done
  done
  # Its routes go with it.
  if ip link show "$BRIDGE" >/dev/null 2>&1; then ip link delete "$BRIDGE"; fi
}

# in_node N COMMAND...: runs in the node's network namespace. Not `ip netns exec`: that mounts /sys anew
# and so hides the cgroups from containerd and kubelet.
in_node() {
  local node=$1
  shift
  nsenter --net="$(node_netns "$node")" "$@"
}

# network_node_up N NODES: namespace, link, addresses and routes to the other nodes' pods.
network_node_up() {
  local node=$1 nodes=$2 netns link other
  netns=$(node_netns "$node")
  link=$(node_name "$node")
  if [[ ! -e $netns || $(stat -fc %T "$netns") != nsfs ]]; then
    mkdir -p "$(dirname "$netns")"
    : >"$netns"
    unshare --net="$netns" true
  fi
  if ! ip link show "$link" >/dev/null 2>&1; then
    ip link add "$link" type veth peer name eth0 netns "$netns"
  fi
  ip link set "$link" master "$BRIDGE" up
  in_node "$node" ip link set lo up
  in_node "$node" ip address replace "$(node_ip "$node")/${NODE_NET#*/}" dev eth0
  in_node "$node" ip link set eth0 up
  in_node "$node" ip route replace default via "$HOST_IP"
  in_node "$node" sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
  # A pod that calls a Service and is answered by a pod of the same bridge needs this.
  # shellcheck disable=SC2016 # the inner shell expands it
  in_node "$node" sh -c 'f=/proc/sys/net/bridge/bridge-nf-call-iptables; [ "$(cat $f)" = 1 ] || echo 1 >$f' ||
    die "bridge-nf-call-iptables cannot be set in a network namespace" "the kernel needs br_netfilter: modprobe br_netfilter"
  for ((other = 1; other <= nodes; other++)); do
    if ((other != node)); then
      in_node "$node" ip route replace "$(node_pod_net "$other")" via "$(node_ip "$other")"
    fi
  done
  ip route replace "$(node_pod_net "$node")" via "$(node_ip "$node")" dev "$BRIDGE"
  # From the host, Services are reached through the first node's kube-proxy.
  if ((node == 1)); then ip route replace "$SERVICE_NET" via "$(node_ip 1)" dev "$BRIDGE"; fi
}

network_node_down() {
  local link netns
  link=$(node_name "$1")
  netns=$(node_netns "$1")
  if ip link show "$link" >/dev/null 2>&1; then ip link delete "$link"; fi
  if [[ -e $netns && $(stat -fc %T "$netns") == nsfs ]]; then umount "$netns"; fi
}
