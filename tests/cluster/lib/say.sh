# shellcheck shell=bash
# What the scripts tell the user. Progress goes to stderr, so that stdout holds only results.

# Seconds since the script began, for progress lines.
SECONDS=0

say() { printf '[%3ds] %s\n' "$SECONDS" "$*" >&2; }

# die MESSAGE...: each argument is a line of its own; the first says what failed, the rest what to do.
die() {
  printf 'error: %s\n' "$1" >&2
  shift
  if (($#)); then printf '       %s\n' "$@" >&2; fi
  exit 1
}

# usage_error MESSAGE: a mistake on the command line (exit status 64, as sysexits.h has it).
usage_error() {
  printf 'error: %s\n       see %s --help\n' "$1" "$0" >&2
  exit 64
}

# help_from FILE: prints the comment block at the top of a script, which is its manual.
help_from() { sed -n '2,/^[^#]/{s/^# \{0,1\}//p;}' "$1"; }

# wait_until SECONDS WHAT COMMAND...: polls until the command succeeds; false after the deadline.
wait_until() {
  local seconds=$1 what=$2 deadline
  shift 2
  deadline=$((SECONDS + seconds))
  until "$@" >/dev/null 2>&1; do
    if ((SECONDS >= deadline)); then
      say "gave up after $seconds s: $what"
      return 1
    fi
    sleep 0.2
  done
}

# write_if_changed FILE: stores stdin; leaves the file alone when it already says the same, because
# kube-proxy ends itself when its configuration is written, even with the same text.
write_if_changed() {
  local file=$1 text
  text=$(cat; printf x)
  text=${text%x}
  if [[ -f $file ]] && printf '%s' "$text" | cmp -s - "$file"; then return; fi
  mkdir -p "$(dirname "$file")"
  printf '%s' "$text" >"$file.new"
  mv "$file.new" "$file"
}
