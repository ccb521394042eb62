#!/usr/bin/env bash
# Fuzzes each target in turn, or those that are named, for some seconds each. What is found lies in
# target/fuzz-artifacts; what the fuzzer keeps to go on from lies in target/fuzz-corpus.
set -euo pipefail

usage='usage: tests/fuzz/run.sh [--seconds N] [TARGET ...]
N is 60 if it is left out; targets are commands, config, deflate, frames, lines, proxy, request_head
and tokens.'
# No longer inputs than these, in bytes: the naive twins take their time.
declare -A longest=([commands]=4096 [config]=8192 [deflate]=2048 [frames]=4096 [lines]=4096
    [proxy]=700 [request_head]=4096 [tokens]=2048)

wrong() {
    echo "$usage" >&2
    exit 2
}

seconds=60
targets=()
while [[ $# -gt 0 ]]; do
    case $1 in
        --seconds) [[ ${2:-} =~ ^[0-9]+$ ]] || wrong; seconds=$2; shift 2 ;;
        --help) echo "$usage"; exit 0 ;;
        *) [[ -n ${longest[$1]:-} ]] || wrong; targets+=("$1"); shift ;;
    esac
done
[[ ${#targets[@]} -gt 0 ]] || targets=(commands config deflate frames lines proxy request_head tokens)

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
CARGO_TARGET_DIR=$(realpath -m "${CARGO_TARGET_DIR:-$root/target}")/fuzz
export CARGO_TARGET_DIR
work=$CARGO_TARGET_DIR-corpus
found=$CARGO_TARGET_DIR-artifacts

command -v cargo-fuzz >/dev/null || {
    echo 'cargo-fuzz is missing: cargo install --locked cargo-fuzz' >&2
    exit 1
}
# The sanitizer needs a nightly compiler, or a stable one that is told to let it pass.
toolchain=()
if rustup toolchain list 2>/dev/null | grep -q '^nightly'; then
    toolchain=(+nightly)
else
    export RUSTC_BOOTSTRAP=1
fi

cd "$root/tests/fuzz"
cargo "${toolchain[@]}" fuzz build --fuzz-dir .
for target in "${targets[@]}"; do
    mkdir -p "$work/$target" "$found"
    options=("-max_total_time=$seconds" "-max_len=${longest[$target]}" -timeout=20
        "-artifact_prefix=$found/$target-" -print_final_stats=1)
    dictionary=dictionaries/$target.dict
    [[ -e $dictionary ]] && options+=("-dict=$dictionary")
    echo "== $target"
    if ! log=$(cargo "${toolchain[@]}" fuzz run --fuzz-dir . "$target" "$work/$target" "corpus/$target" \
        -- "${options[@]}" 2>&1); then
        tail -n 60 <<<"$log"
        echo "$target failed; the input is in $found. Mend what it shows, and add it to" \
            "tests/fuzz/corpus/$target under a name that says what it is."
        exit 1
    fi
    grep -E '^#.* DONE|number_of_executed' <<<"$log"
done
