#!/usr/bin/env bash
# Installs Traefik as an Ingress controller, for the tests of a hub that is exposed by an Ingress: IngressClass
# wsc-traefik, namespace wsc-ingress.
#
#   ingress.sh                into the test cluster, which must run
#   CONTEXT=NAME ingress.sh   into the cluster of this kube context; its image comes there as those of images.sh do, or is
#                             what TRAEFIK_IMAGE names, which is then not built
#   ingress.sh down           removes it
#   ingress.sh --help         this text
#
# The first time it builds Traefik from source, about 5 minutes on two cores. It may be repeated at any time.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib/settings.sh"
for part in say delivery; do
  # shellcheck source=/dev/null
  . "$CLUSTER_HOME/lib/$part.sh"
done

image=${TRAEFIK_IMAGE:-wsc.local/traefik:v$TRAEFIK_VERSION}
tar=$IMAGES/traefik.tar
context=${CONTEXT:-}
kubectl=("$BIN/kubectl")
if [[ -n $context ]]; then
  kubectl+=(--context "$context")
else
  kubectl+=(--kubeconfig "$ADMIN_KUBECONFIG")
fi

manifest() { sed "s|@IMAGE@|$image|" "$CLUSTER_HOME/manifests/traefik.yaml"; }

up() {
  [[ -n $context || -e $RUN/etcd.pid ]] || die "no test cluster runs" "run: $CLUSTER_HOME/cluster.sh up, or set CONTEXT"
  if [[ -z ${TRAEFIK_IMAGE:-} ]]; then
    "$CLUSTER_HOME/build.sh" --traefik
    "$CLUSTER_HOME/image.sh" "$tar" "$image" "$BIN/traefik" >/dev/null
    deliver_images "$context" "$tar"
  fi
  manifest | "${kubectl[@]}" apply --server-side --force-conflicts -f - >/dev/null
  if ! "${kubectl[@]}" -n wsc-ingress rollout status deployment/traefik --timeout 120s >/dev/null; then
    "${kubectl[@]}" -n wsc-ingress describe pods | tail -n 30 >&2 || true
    die "Traefik does not become ready; its pods are described above"
  fi
  say "Traefik ($image) serves Ingresses of class wsc-traefik"
}

case ${1:-} in
  '') up ;;
  down) manifest | "${kubectl[@]}" delete --ignore-not-found -f - >/dev/null ;;
  -h | --help) help_from "$0"; exit 0 ;;
  *) usage_error "unknown argument $1" ;;
esac
