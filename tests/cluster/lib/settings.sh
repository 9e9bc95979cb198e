# shellcheck shell=bash
# shellcheck disable=SC2034 # every setting is read by the scripts that source this file
# Versions, paths and addresses of the test cluster, in one place.

CLUSTER_HOME=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
REPOSITORY=$(cd "$CLUSTER_HOME/../.." && pwd)

KUBERNETES_VERSION=1.34.4
COREDNS_VERSION=1.12.4
HELM_VERSION=3.19.0
METRICS_SERVER_VERSION=0.9.0
TRAEFIK_VERSION=3.6.0

# Built programs and images: expensive, reusable, safe to delete.
CACHE=${WSC_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/wsc}
BIN=$CACHE/bin
IMAGES=$CACHE/images

# One cluster per machine: its network, cgroups and names exist once.
STATE=/var/lib/wsc-cluster
RUN=/run/wsc-cluster
LOCK=/run/wsc-cluster.lock
LOGS=$STATE/logs
PKI=$STATE/pki
CONTEXT_NAME=wsc-test
ADMIN_KUBECONFIG=$STATE/admin.kubeconfig

# All addresses are from 198.18.0.0/15, which RFC 2544 sets aside for tests: no real network uses it.
# The nodes' own network lies outside POD_NET on purpose: only then does kube-proxy rewrite the source
# of connections from the host to Services, so that a reply from another node's pod finds its way back.
BRIDGE=wsc-br0
NODE_NET=198.18.0.0/24
HOST_IP=198.18.0.1
POD_NET=198.18.128.0/17
SERVICE_NET=198.19.0.0/16
API_SERVICE_IP=198.19.0.1
DNS_IP=198.19.0.10
API_URL=https://$HOST_IP:6443
ETCD_URL=http://127.0.0.1:23790
ETCD_PEER_URL=http://127.0.0.1:23800
MAX_NODES=9

# Debian's containernetworking-plugins.
CNI_BIN=/usr/lib/cni
CGROUP=wsc-cluster

node_name() { echo "wsc-n$1"; }
node_ip() { echo "198.18.0.$((10 + $1))"; }
node_pod_net() { echo "198.18.$((128 + $1)).0/24"; }
node_gateway() { echo "198.18.$((128 + $1)).1"; }
node_state() { echo "$STATE/n$1"; }
node_run() { echo "$RUN/n$1"; }
node_netns() { echo "$RUN/n$1/netns"; }
node_socket() { echo "$RUN/n$1/containerd.sock"; }
