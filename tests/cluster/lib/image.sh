# shellcheck shell=bash
# Images in the nodes. There is no registry: tars are imported into each node's containerd.

PAUSE_IMAGE=wsc.local/pause:dev
COREDNS_IMAGE=wsc.local/coredns:v$COREDNS_VERSION
METRICS_SERVER_IMAGE=wsc.local/metrics-server:v$METRICS_SERVER_VERSION

# The cluster's own images, made from the programs of build.sh.
image_make_system() {
  "$CLUSTER_HOME/image.sh" "$IMAGES/pause.tar" "$PAUSE_IMAGE" "$BIN/pause"
  "$CLUSTER_HOME/image.sh" "$IMAGES/coredns.tar" "$COREDNS_IMAGE" "$BIN/coredns"
  "$CLUSTER_HOME/image.sh" "$IMAGES/metrics-server.tar" "$METRICS_SERVER_IMAGE" "$BIN/metrics-server" --dir /tmp
}

# image_import NODE TAR: and remembers what was imported.
image_import() {
  local node=$1 tar=$2 mark
  mark=$(image_mark "$node" "$tar")
  ctr --address "$(node_socket "$node")" --namespace k8s.io images import --snapshotter overlayfs "$tar" >/dev/null ||
    die "node $(node_name "$node") cannot import $tar" "log: $LOGS/n$node-containerd.log"
  mkdir -p "$(dirname "$mark")"
  sha256sum <"$tar" >"$mark"
}

image_mark() { echo "$(node_state "$1")/images/$(basename "$2")"; }

# image_import_node NODE: imports what is in the image folder, but a tar only once per content.
image_import_node() {
  local node=$1 tar mark
  for tar in "$IMAGES"/*.tar; do
    [[ -e $tar ]] || continue
    mark=$(image_mark "$node" "$tar")
    if [[ ! -f $mark || $(cat "$mark") != "$(sha256sum <"$tar")" ]]; then image_import "$node" "$tar"; fi
  done
}
