# shellcheck shell=bash
# Images in the nodes. There is no registry: tars are imported into each node's containerd.

PAUSE_IMAGE=wsc.local/pause:dev
COREDNS_IMAGE=wsc.local/coredns:v$COREDNS_VERSION

# The cluster's own images, made from the programs of build.sh.
image_make_system() {
  "$CLUSTER_HOME/image.sh" "$IMAGES/pause.tar" "$PAUSE_IMAGE" "$BIN/pause"
  "$CLUSTER_HOME/image.sh" "$IMAGES/coredns.tar" "$COREDNS_IMAGE" "$BIN/coredns"
}

# image_import NODE TAR
image_import() {
  ctr --address "$(node_socket "$1")" --namespace k8s.io images import --snapshotter overlayfs "$2" >/dev/null
}

# image_import_node NODE: imports what is in the image folder, but a tar only once per content.
image_import_node() {
  local node=$1 tar mark sum
  for tar in "$IMAGES"/*.tar; do
    [[ -e $tar ]] || continue
    mark=$(node_state "$node")/images/$(basename "$tar")
    sum=$(sha256sum <"$tar")
    if [[ -f $mark && $(cat "$mark") == "$sum" ]]; then continue; fi
    image_import "$node" "$tar" || die "node $(node_name "$node") cannot import $tar" "log: $LOGS/n$node-containerd.log"
    mkdir -p "$(dirname "$mark")"
    echo "$sum" >"$mark"
  done
}
