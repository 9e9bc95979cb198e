#!/usr/bin/env bash
# Makes the images of the project from built programs, and loads them where pods can use them:
#
#   wsc-hub:dev       the hub             wsc-hub:dev-next  the same with another digest, to test rollouts
#   wsc-operator:dev  the operator        wsc-redis:dev     Debian's Redis
#
#   images.sh                 tars into the image folder, and into the test cluster if it runs
#   CONTEXT=NAME images.sh    and into the cluster of this kube context: kind-*, k3d-* and minikube by their
#                             own commands; other clusters need a registry, and it says so
#   images.sh --help          this text
#
# Needs the programs (cargo build --release) and redis-server. The folder is $WSC_CACHE/images (default:
# ${XDG_CACHE_HOME:-~/.cache}/wsc/images). Prints each image's name and digest.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib/settings.sh"
for part in say packages binaries delivery; do
  # shellcheck source=/dev/null
  . "$CLUSTER_HOME/lib/$part.sh"
done

case ${1:-} in
  '') ;;
  -h | --help) help_from "$0"; exit 0 ;;
  *) usage_error "unknown argument $1" ;;
esac

context=${CONTEXT:-}
folder=$(binaries_folder)
binaries_need "$folder" wsc-hub wsc-operator kubectl-wsc
packages_need "the Redis image" redis-server=redis-server redis-cli=redis-tools

# make_image TAR NAME TITLE PROGRAM... [options]
tars=()
make_image() {
  local tar=$IMAGES/$1 name=$2 title=$3
  shift 3
  tars+=("$tar")
  "$CLUSTER_HOME/image.sh" "$tar" "$name" "$@" --label "org.opencontainers.image.title=$title"
}

labels=(--label "org.opencontainers.image.version=$(binaries_version)" --label "org.opencontainers.image.licenses=Apache-2.0")
# The user is numeric, so that Kubernetes can see that it is not root. It needs no name.
hub=(wsc-hub "$folder/wsc-hub" --user 65532:65532 "${labels[@]}")
make_image wsc-hub.tar wsc-hub:dev "${hub[@]}"
make_image wsc-hub-next.tar wsc-hub:dev-next "${hub[@]}" --label wsc.dev/variant=next
make_image wsc-operator.tar wsc-operator:dev wsc-operator "$folder/wsc-operator" "$folder/kubectl-wsc" --user 65532:65532 "${labels[@]}"
make_image wsc-redis.tar wsc-redis:dev wsc-redis --user 999:999 --dir /data --dir /tmp --workdir /data \
  "$(command -v redis-server)=/usr/bin/redis-server" "$(command -v redis-cli)=/usr/bin/redis-cli"

deliver_images "$context" "${tars[@]}"
