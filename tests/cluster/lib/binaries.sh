# shellcheck shell=bash
# The project's own programs, which cargo builds.

# binaries_folder: prints where `cargo build --release` puts them (see .cargo/config.toml: the target is
# named, so it is part of the path).
binaries_folder() {
  local target host
  command -v cargo >/dev/null || die "missing: cargo, which knows where the programs are built" "install Rust from https://rustup.rs"
  target=$(cd "$REPOSITORY" && cargo metadata --format-version 1 --no-deps --offline | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
  host=$(rustc -vV | sed -n 's/^host: //p')
  [[ -n $target && -n $host ]] || die "cannot find cargo's target folder" "try: cargo metadata --no-deps"
  echo "$target/$host/release"
}

# binaries_need FOLDER NAME...
binaries_need() {
  local folder=$1 name
  shift
  for name in "$@"; do
    [[ -x $folder/$name ]] || die "not built yet: $folder/$name" "run: cargo build --release -p $name"
    # An image holds nothing but the program, so it must bring its libraries with it.
    if ldd "$folder/$name" 2>/dev/null | grep -q '=>'; then
      die "not a static program: $folder/$name" "build it in the repository, where .cargo/config.toml asks for that"
    fi
  done
}

# binaries_version: the version of the workspace.
binaries_version() { sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' "$REPOSITORY/Cargo.toml"; }
