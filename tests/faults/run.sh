#!/usr/bin/env bash
# Plants each fault of this folder in turn in a copy of the tree, and reports how many seeds the
# simulation took to catch it. A patch that begins with a line `test: ARGUMENTS` is for another test,
# which `cargo test ARGUMENTS` runs. Fails if one is not caught, or no longer applies. Two copies are
# worked on side by side: much of a build is one thread's work.
set -euo pipefail

if [[ ${1:-} == --help ]]; then
    echo 'usage: tests/faults/run.sh [--part K/N] [SEEDS] [PATTERN]'
    echo 'at most so many seeds per fault (2000); only faults whose names match the regular expression;'
    echo 'of these the K-th of each N'
    exit 0
fi
part=1 parts=1
if [[ ${1:-} == --part ]]; then
    [[ ${2:-} =~ ^([1-9][0-9]?)/([1-9][0-9]?)$ && ${BASH_REMATCH[1]} -le ${BASH_REMATCH[2]} ]] ||
        { echo "--part needs K/N, such as 1/3" >&2; exit 2; }
    part=${BASH_REMATCH[1]} parts=${BASH_REMATCH[2]}
    shift 2
fi
seeds=${1:-2000}
pattern=${2:-}
workers=2
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
copies=$(mktemp -d)
trap 'rm -rf "$copies"' EXIT
# From one fault to the next little changes.
export CARGO_INCREMENTAL=1

# What the tests have compiled of packages from elsewhere, for a worker to go on from. Of the tree's own
# nothing: there the copy is another, and cargo writes into some of its files in place.
compiled_so_far() {
    local from=$target/debug to=$1/debug
    [[ -d $from/deps && ! -d $to ]] || return 0
    mkdir -p "$to/deps"
    cp -a "$from/.fingerprint" "$to/"
    cp -a --link "$from/build" "$to/"
    find "$from/deps" -maxdepth 1 \( -name '*.rlib' -o -name '*.rmeta' -o -name '*.so' -o -name '*.d' \) \
        -exec cp -a --link --target-directory="$to/deps" {} +
    rm -rf "$to"/.fingerprint/tidegate* "$to"/build/tidegate* "$to"/deps/*tidegate*
}

# Plants one fault in a copy, and takes it out again; says what came of it, fails if it is not caught.
plant() {
    local patch=$1 copy=$2 name arguments is_other status=0 log seed why
    name=$(basename "$patch" .patch)
    read -r -a arguments <<<"$(sed -n '1s/^test: //p' "$patch")"
    is_other=${#arguments[@]}
    [[ $is_other -gt 0 ]] || arguments=(-p tidegate-tests --test simulation)
    # Wholly or not at all: half a fault would be there for all that follow.
    if ! patch --quiet --dry-run --directory "$copy" --strip=1 <"$patch"; then
        echo "$name: no longer applies"
        return 1
    fi
    patch --quiet --directory "$copy" --strip=1 <"$patch"
    # What takes long to compile is no hang. A fault that does not compile shows below.
    (cd "$copy" && cargo test --quiet --no-run "${arguments[@]}" >/dev/null 2>&1) || true
    # A fault may show as a hang: that is caught too.
    log=$(cd "$copy" && RUST_BACKTRACE=0 TIDEGATE_SEEDS=$seeds timeout 600 \
        cargo test --quiet "${arguments[@]}" 2>&1) || status=$?
    patch --quiet --reverse --directory "$copy" --strip=1 <"$patch"
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
        return 1
    fi
}

# Plants every fault whose turn is this worker's, in a copy of its own.
work() {
    local worker=$1 at=0 turn=0 missed=0 patch copy=$copies/$1
    export CARGO_TARGET_DIR=$target/faults/$worker
    compiled_so_far "$CARGO_TARGET_DIR"
    mkdir "$copy"
    (cd "$root" && git ls-files -z --cached --others --exclude-standard) |
        (cd "$root" && tar --null --files-from=- --create --ignore-failed-read) | tar -x -C "$copy"
    # What then runs for seconds is not worth the minutes that the gateway takes to be optimised.
    printf '\n[profile.dev.package.tidegate]\nopt-level = 0\n' >>"$copy/Cargo.toml"
    for patch in "$root"/tests/faults/*.patch; do
        [[ $(basename "$patch" .patch) =~ $pattern ]] || continue
        turn=$((turn % parts + 1))
        [[ $turn -eq $part ]] || continue
        at=$((at + 1))
        [[ $((at % workers)) -eq $worker ]] || continue
        plant "$patch" "$copy" || missed=$((missed + 1))
    done
    [[ $missed -eq 0 ]]
}

pids=()
for ((worker = 0; worker < workers; worker++)); do
    work "$worker" &
    pids+=($!)
done
failed=0
for pid in "${pids[@]}"; do
    wait "$pid" || failed=1
done
exit "$failed"
