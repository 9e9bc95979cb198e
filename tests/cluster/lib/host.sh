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
  if [[ -d /var/lib/cni/results ]]; then find /var/lib/cni/results -name 'wsc-cluster-*' -delete; fi
  if [[ -d /var/log/containers ]]; then find /var/log/containers -type l -lname "$STATE/*" -delete; fi
  [[ -e $RUN/before/folders ]] || return 0
  for folder in "${HOST_FOLDERS[@]}"; do
    if grep -qxF "$folder" "$RUN/before/folders"; then continue; fi
    # They held nothing before the cluster came. Only kubelet leaves files behind (plugin registry).
    if [[ $folder == /var/lib/kubelet ]]; then rm -rf "$folder/device-plugins" "$folder/plugins_registry"; fi
    if [[ -d $folder ]]; then find "$folder" -depth \( -type d -o -type s \) -delete 2>/dev/null || true; fi
  done
}
