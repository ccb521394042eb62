#!/usr/bin/env bash
# Tries Containerfile without an engine, as root: what its final stage copies is put into a file system of the
# same Debian, and its own commands are run there as engines run them. Prints how long starts take.
# The first time it fetches that Debian, which takes a minute; it is kept in ~/.cache/tidegate.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

if [[ $(id -u) -ne 0 ]]; then
    exec sudo -n --preserve-env=PATH,HOME,CARGO_HOME,RUSTUP_HOME,CARGO_TARGET_DIR "$0" "$@"
fi

missing=()
for tool in debootstrap strace; do
    command -v "$tool" >/dev/null || missing+=("$tool")
done
command -v ip >/dev/null || missing+=(iproute2)
if [[ ${#missing[@]} -gt 0 ]]; then
    apt-get update -qq && apt-get install -y -qq "${missing[@]}" >/dev/null
fi

cargo build --quiet --release --locked -p tidegate -p tidegate-tests --bin tidegate --bin under-seccomp
target=${CARGO_TARGET_DIR:-target}/release

# What the final stage is from: debian:SUITE-slim.
suite=$(sed -n 's/^FROM debian:\([a-z]*\)-slim$/\1/p' tools/containers/Containerfile | tail -n 1)
[[ -n $suite ]] || {
    echo "the final stage of Containerfile is not from debian:SUITE-slim any more: teach $0 what it is from" >&2
    exit 1
}
cache=$HOME/.cache/tidegate
base=$cache/debian-$suite
if [[ ! -e $base ]]; then
    mkdir -p "$cache"
    half=$(mktemp -d "$cache/half.XXXXXX")
    trap 'rm -rf "$half"' EXIT
    debootstrap --variant=minbase "$suite" "$half" >"$cache/debootstrap.log" 2>&1 || {
        tail -n 20 "$cache/debootstrap.log" >&2
        exit 1
    }
    chmod 755 "$half"
    mv "$half" "$base"
fi

# A network of its own, in which the ports of the recipe are free; nothing leaves it.
exec unshare --net --mount --propagation private -- bash -c 'ip link set lo up && exec "$@"' bash \
    python3 tools/containers/try.py "$base" "$target"
