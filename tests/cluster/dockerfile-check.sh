#!/usr/bin/env bash
# Builds both targets of the Dockerfile with buildah and looks at the result: entrypoint, user, labels,
# the program inside byte by byte, nothing else inside, and that it starts. Leaves nothing behind.
#
#   dockerfile-check.sh          needs root, the programs (cargo build --release), and buildah, which is
#                                installed if it is missing
#   dockerfile-check.sh --help   this text
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib/settings.sh"
for part in say packages binaries; do
  # shellcheck source=/dev/null
  . "$CLUSTER_HOME/lib/$part.sh"
done

case ${1:-} in
  '') ;;
  -h | --help) help_from "$0"; exit 0 ;;
  *) usage_error "unknown argument $1" ;;
esac
need_root "dockerfile-check.sh"
packages_need "building the Dockerfile" buildah=buildah jq=jq
folder=$(binaries_folder)
binaries_need "$folder" wsc-hub wsc-operator kubectl-wsc

work=$(mktemp -d)
store=(--root "$work/root" --runroot "$work/run" --storage-driver vfs)
cleanup() {
  buildah "${store[@]}" rm --all >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap cleanup EXIT

# The programs where the Dockerfile looks for them, wherever cargo has put them, and what is sent to a builder.
context=$work/context
programs=$context/$(sed -n 's/^ARG BINARIES=//p' "$REPOSITORY/Dockerfile" | head -n 1)
mkdir -p "$programs"
cp "$REPOSITORY/Dockerfile" "$REPOSITORY/.dockerignore" "$context"
cp "$folder"/{wsc-hub,wsc-operator,kubectl-wsc} "$programs"

# expect WHAT FOUND WANTED
expect() { [[ $2 == "$3" ]] || die "$target: $1 is '$2', expected '$3'"; }

for target in hub operator; do
  say "building target $target"
  buildah "${store[@]}" build --isolation chroot --target "$target" --tag "wsc-$target:check" \
    --build-arg "VERSION=$(binaries_version)" "$context" >"$work/log" 2>&1 ||
    { tail -n 20 "$work/log" >&2; die "buildah cannot build target $target"; }
  config=$(buildah "${store[@]}" inspect --type image "wsc-$target:check" | jq -c .OCIv1.config)
  expect entrypoint "$(jq -r '.Entrypoint | join(" ")' <<<"$config")" "/wsc-$target"
  expect user "$(jq -r .User <<<"$config")" 65532:65532
  expect "label title" "$(jq -r '.Labels["org.opencontainers.image.title"]' <<<"$config")" "wsc-$target"
  expect "label version" "$(jq -r '.Labels["org.opencontainers.image.version"]' <<<"$config")" "$(binaries_version)"
  container=$(buildah "${store[@]}" from --pull-never "wsc-$target:check")
  root=$(buildah "${store[@]}" mount "$container")
  cmp "$folder/wsc-$target" "$root/wsc-$target" || die "$target: the program in the image is not the one that was built"
  content="./wsc-$target "
  if [[ $target == operator ]]; then content="./kubectl-wsc $content"; fi
  expect "content" "$(cd "$root" && find . -type f | sort | tr '\n' ' ')" "$content"
  # In the image's own root and as its user: it starts, so nothing is missing in there.
  timeout 20 chroot --userspec 65532:65532 "$root" "/wsc-$target" --help >"$work/help" 2>&1 ||
    { cat "$work/help" >&2; die "$target: the program does not start in its image"; }
  say "target $target is right: $(du -h "$root/wsc-$target" | cut -f1), entrypoint /wsc-$target, user 65532:65532"
done
