#!/usr/bin/env bash
# Makes an image tar from programs of this machine, with no registry, no Docker and no root.
#
#   image.sh OUT.tar NAME:TAG PROGRAM[=PATH]... [options]
#
# Each PROGRAM is stored at PATH (default: / and its name), together with the shared libraries that it
# needs, at the paths where it looks for them; a static program is stored alone. The first PATH is the
# entrypoint. The same input gives the same digest. The tar is an OCI layout that containerd, Docker,
# kind, k3d, minikube, podman and buildah read.
#
# Options:
#   --user UID[:GID]     numeric user to run as (default: 0:0)
#   --label KEY=VALUE    label of the image; may be repeated
#   --workdir PATH       folder in which the program starts (default: /)
#   --dir PATH           an empty folder that every user may write to; may be repeated
#   -h, --help           this text
#
# NAME without a registry means docker.io/library/NAME, as Kubernetes reads it. The tag latest is
# refused: Kubernetes would always try to pull it.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib/settings.sh"
. "$CLUSTER_HOME/lib/say.sh"

user=0:0 workdir=/ labels=() dirs=() words=()
while (($#)); do
  case $1 in
    -h | --help) help_from "$0"; exit 0 ;;
    --user | --label | --workdir | --dir)
      (($# > 1)) || usage_error "$1 needs a value"
      case $1 in
        --user) user=$2 ;;
        --label) labels+=("$2") ;;
        --workdir) workdir=$2 ;;
        --dir) dirs+=("$2") ;;
      esac
      shift 2 ;;
    -*) usage_error "unknown option $1" ;;
    *) words+=("$1"); shift ;;
  esac
done
((${#words[@]} >= 3)) || usage_error "OUT.tar, NAME:TAG and at least one PROGRAM are needed"
out=${words[0]} name=${words[1]} programs=("${words[@]:2}")
[[ $user =~ ^[0-9]+(:[0-9]+)?$ ]] || usage_error "--user must be numeric, UID or UID:GID: $user"
tag=${name##*:}
[[ $name == *:* && $tag != */* ]] || usage_error "the image name has no tag: $name"
[[ $tag != latest ]] || usage_error "the tag must not be latest: Kubernetes would always try to pull it"

# json_string TEXT: quoted; all text here is paths, names and label values.
json_string() {
  local text=${1//\\/\\\\}
  printf '"%s"' "${text//\"/\\\"}"
}

# full_name NAME: with the registry that Kubernetes and containerd put before a short one.
full_name() {
  local first=${1%%/*}
  if [[ $1 != */* ]]; then
    echo "docker.io/library/$1"
  elif [[ $first != *.* && $first != *:* && $first != localhost ]]; then
    echo "docker.io/$1"
  else
    echo "$1"
  fi
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root blobs=$work/image/blobs/sha256
mkdir -p "$root" "$blobs"

# store SOURCE PATH MODE: copies the file that SOURCE leads to.
store() {
  mkdir -p "$root$(dirname "$2")"
  cp --dereference "$1" "$root$2"
  chmod "$3" "$root$2"
}

entrypoint=
for program in "${programs[@]}"; do
  source=${program%%=*} path=/$(basename "${program%%=*}")
  if [[ $program == *=* ]]; then path=${program#*=}; fi
  [[ $path == /* ]] || usage_error "PATH must begin with /: $program"
  [[ -f $source && -x $source ]] || die "not a program: $source" "build it first"
  store "$source" "$path" 0755
  entrypoint=${entrypoint:-$path}
  # ldd says "not a dynamic executable" or "statically linked" for a static program.
  while read -r library; do
    store "$library" "$library" 0755
  done < <(ldd "$source" 2>/dev/null | grep -oE '(=> )?/[^ ]+' | sed 's/^=> //' || true)
done
for dir in "${dirs[@]}"; do
  mkdir -p "$root$dir"
  chmod 1777 "$root$dir"
done
find "$root" -type d ! -perm 1777 -exec chmod 0755 {} +

# put_blob FILE: moves the file to its digest's name and sets digest and size.
put_blob() {
  digest=$(sha256sum "$1" | cut -d' ' -f1)
  size=$(stat -c %s "$1")
  mv "$1" "$blobs/$digest"
}

pack() { tar --create --file "$1" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --format=gnu "${@:2}"; }

case $(uname -m) in
  x86_64) architecture=amd64 ;;
  aarch64) architecture=arm64 ;;
  *) architecture=$(uname -m) ;;
esac
label_json=
while IFS= read -r label; do
  [[ -n $label ]] || continue
  [[ $label == *=* ]] || usage_error "--label must be KEY=VALUE: $label"
  label_json+=${label_json:+,}$(json_string "${label%%=*}"):$(json_string "${label#*=}")
done < <(((${#labels[@]})) && printf '%s\n' "${labels[@]}" | sort)

pack "$work/layer" --directory "$root" .
put_blob "$work/layer"
layer=$digest layer_size=$size

printf '{"architecture":"%s","os":"linux","config":{"User":"%s","Entrypoint":[%s],"Env":["PATH=/usr/bin:/bin"],"WorkingDir":%s%s},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]},"history":[{"created":"1970-01-01T00:00:00Z","created_by":"image.sh"}],"created":"1970-01-01T00:00:00Z"}' \
  "$architecture" "$user" "$(json_string "$entrypoint")" "$(json_string "$workdir")" "${label_json:+,\"Labels\":{$label_json\}}" "$layer" >"$work/config"
put_blob "$work/config"
config=$digest config_size=$size

printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:%s","size":%d},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:%s","size":%d}]}' \
  "$config" "$config_size" "$layer" "$layer_size" >"$work/manifest"
put_blob "$work/manifest"
manifest=$digest manifest_size=$size

# Two names for one manifest: without the second, a pod that names the digest would try to pull it.
full=$(full_name "$name")
entry() {
  printf '{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:%s","size":%d,"platform":{"architecture":"%s","os":"linux"},"annotations":{"io.containerd.image.name":%s%s}}' \
    "$manifest" "$manifest_size" "$architecture" "$(json_string "$1")" "${2:-}"
}
printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[%s,%s]}' \
  "$(entry "$full" ",\"org.opencontainers.image.ref.name\":$(json_string "$tag")")" \
  "$(entry "${full%:*}@sha256:$manifest")" >"$work/image/index.json"
printf '{"imageLayoutVersion":"1.0.0"}' >"$work/image/oci-layout"
# For docker load before version 25.
printf '[{"Config":"blobs/sha256/%s","RepoTags":[%s],"Layers":["blobs/sha256/%s"]}]' \
  "$config" "$(json_string "$name")" "$layer" >"$work/image/manifest.json"

mkdir -p "$(dirname "$out")"
pack "$out.new.$$" --directory "$work/image" oci-layout index.json manifest.json blobs
mv "$out.new.$$" "$out"
echo "$full@sha256:$manifest"
