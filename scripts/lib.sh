# Shared by the scripts in this folder: source it, do not run it.
#
# What it gives: `step` and `run` (say what is done and how long it took), `need_build`, `need_python`, `need_packages`
# (put in place what a fresh machine lacks), `make_venv` (a private Python environment from pinned requirements).
# Everything it installs by itself lives under the build folder; system packages come from apt, and only when root.

set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
TARGET=${CARGO_TARGET_DIR:-$ROOT/target}
case $TARGET in /*) ;; *) TARGET=$ROOT/$TARGET ;; esac
cd "$ROOT"

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 2; }
have() { command -v "$1" >/dev/null 2>&1; }

# step TEXT: a headline with the time since the script began.
step() { printf '\n== [%02d:%02d] %s\n' $((SECONDS / 60)) $((SECONDS % 60)) "$*" >&2; }

# run COMMAND…: shows the command, then runs it.
run() {
    say "   \$ $*"
    "$@"
}

# at_least FOUND WANTED: compares dotted version numbers.
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

# need_packages PACKAGE…: installs Debian packages when root, else says what to type and stops.
need_packages() {
    [ $# -gt 0 ] || return 0
    if ! have apt-get; then
        die "this machine lacks: $*. Install them (these are Debian's package names) and start again."
    elif [ "$(id -u)" -ne 0 ]; then
        die "some packages are missing. Type: sudo apt-get install --no-install-recommends $*"
    fi
    step "installing Debian packages: $*"
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -y --no-install-recommends "$@" </dev/null >"$TARGET/apt.log" 2>&1 ||
        { apt-get update && apt-get install -y --no-install-recommends "$@"; } </dev/null >"$TARGET/apt.log" 2>&1 ||
        { tail -n 20 "$TARGET/apt.log" >&2; die "apt-get could not install: $*"; }
}

# need_command COMMAND PACKAGE [COMMAND PACKAGE…]: installs the packages whose commands are missing, in one go.
need_command() {
    local missing=()
    while [ $# -gt 0 ]; do
        have "$1" || missing+=("$2")
        shift 2
    done
    need_packages ${missing[@]+"${missing[@]}"}
}

# need_python: a python3 that can make virtual environments.
need_python() {
    have python3 && python3 -c 'import venv, ensurepip' 2>/dev/null || need_packages python3 python3-venv
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        die "python3 is $(python3 --version 2>&1), 3.11 or newer is needed"
}

# make_venv FOLDER REQUIREMENTS: makes the environment, or leaves it alone where it was made from the same file.
make_venv() {
    local venv=$1 wanted=$2
    need_python
    if [ -x "$venv/bin/python" ] && cmp -s "$wanted" "$venv/made-from.txt" && "$venv/bin/python" -c '' 2>/dev/null; then
        return 0
    fi
    step "making the Python environment $(basename "$venv") from $(basename "$wanted")"
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input -r "$wanted" ||
        { rm -rf "$venv"; die "pip could not install $wanted (is the machine online?)"; }
    cp "$wanted" "$venv/made-from.txt" # last: marks it complete
}

# need_cmake: the static HDF5 library wants CMake 3.26; Debian 12 has 3.25. A newer one goes into the build folder and
# in front of the PATH (not into CMAKE, which cargo watches: every cargo command outside these scripts would rebuild).
need_cmake() {
    local wanted=3.26 found=none
    have cmake && found=$(cmake --version 2>/dev/null | sed -n '1s/.* //p')
    if [ "$found" != none ] && at_least "${found:-0}" $wanted; then
        return 0
    fi
    say "   cmake: found ${found:-none}, $wanted or newer is needed: using a private one"
    printf 'cmake==4.4.4\n' >"$TARGET/cmake.txt"
    make_venv "$TARGET/cmake-venv" "$TARGET/cmake.txt"
    mkdir -p "$TARGET/tools"
    ln -sf "$TARGET/cmake-venv/bin/cmake" "$TARGET/tools/cmake"
    export PATH="$TARGET/tools:$PATH"
    cmake --version >/dev/null || die "the private cmake does not run"
}

# need_build: everything `cargo build` needs.
need_build() {
    step "looking at what this machine has"
    mkdir -p "$TARGET"
    local wanted
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$ROOT/Cargo.toml" | head -n 1)
    if ! have cargo || ! have rustc; then
        die "cargo and rustc are missing: install Rust $wanted or newer (https://rustup.rs)"
    fi
    at_least "$(rustc --version | cut -d ' ' -f 2)" "$wanted" || die "$(rustc --version): $wanted or newer is needed"
    need_command cc gcc c++ g++ make make
    need_cmake
    say "   $(rustc --version); $(cc --version | head -n 1); $(cmake --version | head -n 1)"
}

# folder_size FOLDER: human-readable size on disk.
folder_size() { du -sh "$1" | cut -f 1; }
