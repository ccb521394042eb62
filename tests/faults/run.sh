#!/usr/bin/env bash
# Plants each fault of this folder in turn in a copy of the tree, and reports how many seeds the
# simulation took to catch it. A patch that begins with a line `test: ARGUMENTS` is for another test,
# which `cargo test ARGUMENTS` runs. Fails if one is not caught, or no longer applies.
set -euo pipefail

if [[ ${1:-} == --help ]]; then
    echo 'usage: tests/faults/run.sh [SEEDS] [PATTERN]'
    echo 'at most so many seeds per fault (2000); only faults whose names match the regular expression'
    exit 0
fi
seeds=${1:-2000}
pattern=${2:-}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target}/faults
# From one fault to the next little changes, and nobody debugs what is built.
export CARGO_INCREMENTAL=1 CARGO_PROFILE_DEV_DEBUG=0

(cd "$root" && git ls-files -z --cached --others --exclude-standard) |
    (cd "$root" && tar --null --files-from=- --create --ignore-failed-read) | tar -x -C "$copy"

missed=0
for patch in "$root"/tests/faults/*.patch; do
    name=$(basename "$patch" .patch)
    [[ $name =~ $pattern ]] || continue
    read -r -a arguments <<<"$(sed -n '1s/^test: //p' "$patch")"
    is_other=${#arguments[@]}
    [[ $is_other -gt 0 ]] || arguments=(-p tidegate-tests --test simulation)
    # Wholly or not at all: half a fault would be there for all that follow.
    if ! patch --quiet --dry-run --directory "$copy" --strip=1 <"$patch"; then
        echo "$name: no longer applies"
        missed=$((missed + 1))
        continue
    fi
    patch --quiet --directory "$copy" --strip=1 <"$patch"
    # A fault may show as a hang: that is caught too.
    status=0
    log=$(cd "$copy" && RUST_BACKTRACE=0 TIDEGATE_SEEDS=$seeds timeout 600 \
        cargo test --quiet "${arguments[@]}" 2>&1) || status=$?
    seed=$(sed -n 's/^seed \([0-9]*\) failed.*/\1/p' <<<"$log" | head -n 1)
    if [[ -n $seed ]]; then
        why=$(grep -A1 "^thread '<unnamed>' .* panicked at" <<<"$log" | sed -n 2p | cut -c 1-90)
        echo "$name: caught by seed $seed, the $((seed + 1)). tried: $why"
    elif [[ $is_other -gt 0 ]] && grep -q '^test result: FAILED' <<<"$log"; then
        echo "$name: caught by $(sed -n 's/^---- \(.*\) stdout ----/\1/p' <<<"$log" | head -n 1)"
    elif [[ $status -eq 124 ]]; then
        echo "$name: caught as a hang"
    else
        echo "$name: NOT CAUGHT in $seeds seeds (exit code $status)"
        tail -n 5 <<<"$log"
        missed=$((missed + 1))
    fi
    patch --quiet --reverse --directory "$copy" --strip=1 <"$patch"
done
[[ $missed -eq 0 ]]
