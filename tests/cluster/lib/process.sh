# shellcheck shell=bash
# Background processes known by a file that holds their pid, start time and command's checksum. A pid
# alone is not enough: it may have been given to another process since.

# process_stat PID: prints "state starttime" from /proc (fields 3 and 22; the name before may hold spaces).
process_stat() {
  local line
  line=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  line=${line##*) }
  local -a fields
  read -ra fields <<<"$line"
  echo "${fields[0]} ${fields[19]}"
}

# process_alive FILE: true if the process of this pid file runs. A zombie is dead: where process 1
# reaps late, kill -0 would call it alive.
process_alive() {
  local pid start state now
  [[ -s $1 ]] || return 1
  read -r pid start _ <"$1"
  read -r state now < <(process_stat "$pid") || return 1
  [[ $now == "$start" && $state != Z && $state != X ]]
}

process_pid() { cut -d' ' -f1 "$1"; }

# process_sum COMMAND...: the programs behind symlinks count, so that a newly built version differs.
process_sum() {
  local word
  for word in "$@"; do
    printf '%s\n' "$word"
    if [[ $word == "$BIN"/* ]]; then readlink -f "$word"; fi
  done | cksum | cut -d' ' -f1
}

# process_ensure FILE LOG COMMAND...: starts the command unless it runs already; a process that was
# started by another command is replaced, a stopped one continues.
process_ensure() {
  local file=$1 log=$2 sum pid start
  shift 2
  sum=$(process_sum "$@")
  if process_alive "$file"; then
    if [[ $(cut -d' ' -f3 "$file") == "$sum" ]]; then
      kill -CONT "$(process_pid "$file")"
      return
    fi
    process_stop 5 "$file"
  fi
  mkdir -p "$(dirname "$file")" "$(dirname "$log")"
  process_launch "$@" </dev/null >>"$log" 2>&1 &
  pid=$!
  read -r _ start < <(process_stat "$pid") || true
  echo "$pid ${start:-0} $sum" >"$file"
}

# process_launch COMMAND...: in place of the calling subshell, with no descriptor but the first three: a server must not
# hold the lock of the script, nor one that its caller holds, for as long as it lives.
process_launch() {
  local descriptor
  for descriptor in "/proc/$BASHPID/fd"/*; do
    descriptor=${descriptor##*/}
    if ((descriptor > 2)); then eval "exec $descriptor>&-"; fi
  done
  exec setsid "$@"
}

# process_stop SECONDS FILE...: TERM to all at once, KILL to those that are left after the time.
process_stop() {
  local seconds=$1 file left deadline
  shift
  for file in "$@"; do
    if process_alive "$file"; then
      kill -CONT "$(process_pid "$file")" 2>/dev/null || true
      kill -TERM "$(process_pid "$file")" 2>/dev/null || true
    fi
  done
  deadline=$((SECONDS + seconds))
  while :; do
    left=0
    for file in "$@"; do
      if process_alive "$file"; then
        left=1
        ((SECONDS < deadline)) || kill -KILL "$(process_pid "$file")" 2>/dev/null || true
      fi
    done
    ((left)) || break
    sleep 0.1
  done
  rm -f "$@"
}

# process_must_live FILE NAME LOG: fails with the end of the log if a process has ended.
process_must_live() {
  process_alive "$1" && return
  tail -n 15 "$3" >&2 || true
  die "$2 ended; the end of its log is above" "whole log: $3"
}
