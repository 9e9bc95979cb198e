# shellcheck shell=bash
# Removal, in an order in which nothing is brought back by what still runs.

teardown() {
  local keep=$1 node files=()
  for node in $(nodes_present); do
    files+=("$(node_run "$node")/kubelet.pid" "$(node_run "$node")/kube-proxy.pid")
  done
  say "stopping kubelets, kube-proxies and the control plane"
  process_stop 2 "${files[@]}" "$RUN/scheduler.pid" "$RUN/controller-manager.pid" "$RUN/apiserver.pid"
  process_stop 5 "$RUN/etcd.pid"
  say "stopping containers and containerd"
  cgroup_kill || true
  teardown_shims
  files=()
  for node in $(nodes_present); do files+=("$(node_run "$node")/containerd.pid"); done
  process_stop 5 "${files[@]}"
  say "removing mounts, network, cgroups and changed settings"
  for node in $(nodes_present); do network_node_down "$node"; done
  network_host_down
  teardown_mounts
  cgroup_down
  host_restore
  rm -rf "$RUN"
  if [[ $keep != keep ]]; then rm -rf "$STATE"; fi
}

# The shims outlive containerd by design; ours name our socket in their arguments.
teardown_shims() {
  local pid
  for pid in $(teardown_shim_pids); do kill -KILL "$pid" 2>/dev/null || true; done
}

teardown_shim_pids() {
  local file line
  for file in /proc/[0-9]*/cmdline; do
    line=$(tr '\0' ' ' 2>/dev/null <"$file") || continue
    if [[ $line == *containerd-shim-runc-v2*"-address $RUN/"* ]]; then
      file=${file#/proc/}
      echo "${file%/cmdline}"
    fi
  done
}

# Deepest first; a mount that is still busy is detached and goes when its last user does.
teardown_mounts() {
  local target
  while read -r target; do
    umount "$target" 2>/dev/null || umount --lazy "$target" 2>/dev/null || true
  done < <(teardown_mount_points | sort -r)
}

teardown_mount_points() {
  local target
  while read -r _ _ _ _ target _; do
    # The kernel writes a blank as \040.
    target=$(printf '%b' "$target")
    if [[ $target == "$RUN"/* || $target == "$STATE"/* ]]; then echo "$target"; fi
  done </proc/self/mountinfo
}

# teardown_left [keep]: prints what is still there after a teardown, a line each; nothing is the goal.
teardown_left() {
  local keep=${1:-} file line target name
  while read -r target; do echo "mount $target"; done < <(teardown_mount_points)
  ip -o link | grep -oE 'wsc-(br0|n[0-9]+)' | sort -u | sed 's/^/link /' || true
  ip route show table all root 198.18.0.0/15 | sed 's/^/route /'
  iptables-save 2>/dev/null | grep -- "$BRIDGE" | sed 's/^/rule /' || true
  cgroup_hierarchies | while read -r target; do
    if [[ -d $target/$CGROUP ]]; then echo "cgroup $target/$CGROUP"; fi
  done
  for file in /proc/[0-9]*/cmdline; do
    line=$(tr '\0' ' ' 2>/dev/null <"$file") || continue
    if [[ $line == *"$RUN/"* || $line == *"$STATE/"* ]]; then
      file=${file#/proc/}
      echo "process ${file%/cmdline}: ${line:0:100}"
    fi
  done
  for target in "$RUN" "$([[ $keep == keep ]] || echo "$STATE")"; do
    if [[ -n $target && -e $target ]]; then echo "folder $target"; fi
  done
  for name in /var/lib/cni/results/wsc-cluster-*; do
    if [[ -e $name ]]; then echo "file $name"; fi
  done
  if [[ -d /var/log/containers ]]; then find /var/log/containers -type l -lname "$STATE/*" -printf 'link %p\n'; fi
}
