# shellcheck shell=bash
# What the cluster changes on the host outside its own folders, and how it is put back.

# kubelet sets the first six; two containerds and kubelets need more inotify instances than 128.
HOST_SYSCTLS=(vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys
  kernel/keys/root_maxbytes fs/inotify/max_user_instances)
HOST_INOTIFY_INSTANCES=1024

# Folders with fixed places that containerd, CNI and kubelet insist on.
HOST_FOLDERS=(/run/containerd /var/lib/cni /var/lib/kubelet /var/log/containers)

# host_save: remembers values and which of the folders exist already, once per life of the cluster.
host_save() {
  local name folder
  mkdir -p "$RUN/before"
  for name in "${HOST_SYSCTLS[@]}"; do
    if [[ -r /proc/sys/$name && ! -e $RUN/before/${name//\//.} ]]; then
      cat "/proc/sys/$name" >"$RUN/before/${name//\//.}"
    fi
  done
  if [[ ! -e $RUN/before/folders ]]; then
    for folder in "${HOST_FOLDERS[@]}"; do
      if [[ -d $folder ]]; then echo "$folder"; fi
    done >"$RUN/before/folders"
  fi
  if (($(cat /proc/sys/fs/inotify/max_user_instances) < HOST_INOTIFY_INSTANCES)); then
    echo "$HOST_INOTIFY_INSTANCES" >/proc/sys/fs/inotify/max_user_instances
  fi
}

host_restore() {
  local name saved folder
  for name in "${HOST_SYSCTLS[@]}"; do
    saved=$RUN/before/${name//\//.}
    if [[ -s $saved ]] && ! cmp -s "$saved" "/proc/sys/$name"; then cat "$saved" >"/proc/sys/$name"; fi
  done
  host_remove_cni_results
  host_remove_shim_sockets
  if [[ -d /var/log/containers ]]; then find /var/log/containers -type l -lname "$STATE/*" -delete; fi
  [[ -e $RUN/before/folders ]] || return 0
  for folder in "${HOST_FOLDERS[@]}"; do
    if grep -qxF "$folder" "$RUN/before/folders"; then continue; fi
    # They did not exist before the cluster came, so all that is in them is its own.
    rm -rf "$folder"
  done
}

# CNI remembers each pod's result, and that of its loopback under another network's name.
host_remove_cni_results() {
  local file id
  for file in /var/lib/cni/results/wsc-cluster-*-eth0; do
    [[ -e $file ]] || continue
    id=${file##*/wsc-cluster-}
    rm -f "$file" "/var/lib/cni/results/cni-loopback-${id%-eth0}-lo"
  done
}

# Each shim's socket is in /run/containerd/s; its address is in the folder of its container.
host_remove_shim_sockets() {
  local file socket
  for file in "$RUN"/n[1-9]/containerd/io.containerd.runtime.v2.task/*/*/address; do
    [[ -e $file ]] || continue
    socket=$(cat "$file")
    rm -f "${socket#unix://}"
  done
}
