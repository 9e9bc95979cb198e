# shellcheck shell=bash
# How image tars get to the nodes of a cluster: of the test cluster, or of a kube context of the user.

# deliver_images CONTEXT TAR...: an empty context means the test cluster, which need not run yet.
deliver_images() {
  local context=$1 tar tag
  shift
  case $context in
    '' | "$CONTEXT_NAME")
      if [[ -e $RUN/etcd.pid ]]; then
        "$CLUSTER_HOME/cluster.sh" load "$@"
      elif [[ -n $context ]]; then
        die "the test cluster does not run" "run: $CLUSTER_HOME/cluster.sh up"
      else
        say "no test cluster runs; its next up takes the images from $IMAGES"
      fi ;;
    kind-*)
      delivery_tool kind
      for tar in "$@"; do kind load image-archive "$tar" --name "${context#kind-}"; done ;;
    k3d-*)
      delivery_tool k3d
      k3d image import --cluster "${context#k3d-}" "$@" ;;
    minikube)
      delivery_tool minikube
      for tar in "$@"; do minikube image load "$tar"; done ;;
    *)
      say "context $context: its nodes must be able to pull the images, so push them to a registry that they read:"
      for tar in "$@"; do
        tag=$(image_tag "$tar")
        say "  skopeo copy oci-archive:$tar:$tag docker://REGISTRY/$(basename "${tar%-next.tar}" .tar):$tag"
      done ;;
  esac
}

# delivery_tool NAME
delivery_tool() {
  command -v "$1" >/dev/null || die "context $context needs the program $1 to load images" "install $1, or unset CONTEXT to use the test cluster"
}

# image_tag TAR: the tag in an image that image.sh made.
image_tag() { tar -xOf "$1" index.json | sed -n 's/.*"org.opencontainers.image.ref.name":"\([^"]*\)".*/\1/p'; }
