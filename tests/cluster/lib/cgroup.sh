# shellcheck shell=bash
# The cgroups of the nodes: /wsc-cluster/nN in every hierarchy. All that runs in them is containers of
# this cluster and nothing else.

CGROUP_ROOT=/sys/fs/cgroup

# True where the unified hierarchy (version 2) is the only one.
cgroup_unified() { [[ $(stat -fc %T "$CGROUP_ROOT") == cgroup2fs ]]; }

# Prints the mount point of each hierarchy that containers use.
cgroup_hierarchies() {
  if cgroup_unified; then
    echo "$CGROUP_ROOT"
  else
    findmnt -rno TARGET -t cgroup,cgroup2
  fi
}

cgroup_node_up() {
  local node=$1 root file dir
  while read -r root; do
    mkdir -p "$root/$CGROUP/n$node"
    if cgroup_unified; then
      for dir in "$root" "$root/$CGROUP" "$root/$CGROUP/n$node"; do
        echo "+cpuset +cpu +memory +pids" 2>/dev/null >"$dir/cgroup.subtree_control" ||
          die "cannot turn on cpuset, cpu, memory and pids in $dir/cgroup.subtree_control" \
            "in a container, its processes must first leave its root cgroup (or run it with --cgroupns=host)"
      done
    else
      # A new cpuset is empty, and nothing can run in it until it is filled from above.
      for file in cpuset.cpus cpuset.mems; do
        [[ -e $root/$file ]] || continue
        for dir in "$CGROUP" "$CGROUP/n$node"; do
          if [[ -z $(cat "$root/$dir/$file") ]]; then cat "$(dirname "$root/$dir")/$file" >"$root/$dir/$file"; fi
        done
      done
    fi
  done < <(cgroup_hierarchies)
}

# Prints the pids in the cluster's cgroups, each once.
cgroup_pids() {
  local root
  while read -r root; do
    [[ -d $root/$CGROUP ]] || continue
    find "$root/$CGROUP" -name cgroup.procs -exec cat {} + 2>/dev/null || true
  done < <(cgroup_hierarchies) | sort -un
}

# Kills whatever is left in them.
cgroup_kill() {
  local deadline=$((SECONDS + 15)) pids
  while :; do
    mapfile -t pids < <(cgroup_pids)
    ((${#pids[@]})) || return 0
    kill -KILL "${pids[@]}" 2>/dev/null || true
    if ((SECONDS >= deadline)); then
      say "processes in the cluster's cgroups do not end: ${pids[*]}"
      return 1
    fi
    sleep 0.1
  done
}

cgroup_down() {
  local root
  while read -r root; do
    [[ -d $root/$CGROUP ]] || continue
    # A cgroup stays busy for a moment after its last process.
    wait_until 5 "remove $root/$CGROUP" cgroup_remove_tree "$root/$CGROUP" || true
  done < <(cgroup_hierarchies)
}

cgroup_remove_tree() {
  find "$1" -depth -type d -exec rmdir {} + 2>/dev/null || true
  [[ ! -d $1 ]]
}
