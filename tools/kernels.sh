#!/usr/bin/env bash
# Boots Debian's kernels in a virtual machine and runs the kernel rules and the gateway on each of
# them. See --help.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$here/..
# What is built is looked for from other folders than this one.
if [[ -n ${CARGO_TARGET_DIR:-} ]]; then
    CARGO_TARGET_DIR=$(realpath -m "$CARGO_TARGET_DIR")
    export CARGO_TARGET_DIR
fi
cache=${XDG_CACHE_HOME:-$HOME/.cache}/tidegate/kernels

# The first that can carry a shard by io_uring, as the gateway says it.
floor=$(sed -n 's/^pub const MINIMUM_KERNEL: &str = "\(.*\)";$/\1/p' \
    "$root/gateway/src/kernel/ring_error.rs")

# What --only knows it by, the suite of Debian that has it, how its version begins (a regular
# expression). Of several the newest is taken.
kernels=(
    '5.10      bullseye         5\.10\.'
    '6.1       bookworm         6\.1\.'
    '6.12      trixie           6\.12\.'
    '6.18      trixie-backports 6\.18\.'
    'sid       sid              [0-9]+\.'
    'backports trixie-backports [0-9]+\.'
)

# What has to come of it, from a version on: what `auto` takes; the rules by io_uring, by io_uring
# as before 6.10, and by epoll; the smoke test. This follows from what a shard needs (`probe.rs` in
# gateway/src/kernel/uring), and is not to be changed for what was seen.
#
#   hold      every rule, and at least one
#   unordered the same but for accepts that take their place among other operations (Linux 6.10)
#   refused   no ring can be set up, and each test says that the floor is $floor
expectations=(
    "0      epoll    refused   refused hold ok"
    "$floor io_uring unordered hold    hold ok"
    "6.10   io_uring hold      hold    hold ok"
)

# The test binaries of the rules, in the order of the expectations.
tests=(kernel kernel_before_6_10 kernel_by_epoll)

usage() {
    cat <<USAGE
usage: tools/kernels.sh [--only NAME]... [--package FILE]... [--accel auto|kvm|tcg] [--fresh]
                        [--binaries DIR] [--keep DIR] [--timeout SECONDS]

Boots Debian's kernels under QEMU, one after the other, with nothing but the test binaries of the
kernel rules, the gateway and tidegate-bench. In each guest the rules are run by io_uring, by
io_uring as before Linux 6.10, and by epoll; then the gateway is started with its defaults, has to
say that it is ready and well, echoes messages of 50 connections, and has to end with exit code 0 on
SIGTERM. What has to come of it follows from the kernel's version: below Linux $floor a ring has to
be refused with that reason, and epoll has to be taken. Prints a table. A kernel takes 40 to 60
seconds on two emulated cores.

  --only NAME        this kernel, one of: $(names); may be repeated
  --package FILE     a kernel's package (.deb) from elsewhere, beside what --only says or alone
  --accel HOW        kvm, tcg (emulation), or auto (the default): KVM if /dev/kvm can be used and
                     carries the first kernel, which is tried for 20 seconds
  --fresh            look for newer packages; otherwise what is in the cache is taken
  --binaries DIR     what is in DIR, in place of what cargo builds: kernel, kernel_before_6_10,
                     kernel_by_epoll, tidegate, tidegate-bench
  --keep DIR         keep what each guest said in DIR, a folder that does not exist or is empty
  --timeout SECONDS  end a guest after this time (default: 600)

Needs QEMU, BusyBox, cpio, strip and, for kernels that are not in the cache, apt with a mirror of
Debian among its sources, or in \$DEBIAN_MIRROR. Packages are downloaded and unpacked into
$cache, by lists of their own; nothing is installed.

exit codes: 0 every kernel did what its version says, 1 some did not,
            2 something could not be set up, or a kernel is not to be had
USAGE
}

names() {
    local row
    for row in "${kernels[@]}"; do printf '%s ' "${row%% *}"; done | sed 's/ $//'
}

say() { printf 'kernels: %s\n' "$*" >&2; }
give_up() {
    say "$@"
    exit 2
}

only=()
packages=()
accel=auto
fresh=
binaries=
keep=
timeout=600
while (($#)); do
    case $1 in
        --help) usage; exit 0 ;;
        --fresh) fresh=1; shift ;;
        --only | --package | --accel | --binaries | --keep | --timeout)
            (($# >= 2)) || give_up "$1 needs a value; see --help"
            case $1 in
                --only) only+=("$2") ;;
                --package) packages+=("$2") ;;
                --accel) accel=$2 ;;
                --binaries) binaries=$2 ;;
                --keep) keep=$2 ;;
                --timeout) timeout=$2 ;;
            esac
            shift 2
            ;;
        *) give_up "unknown argument '$1'; see --help" ;;
    esac
done
for name in "${only[@]}"; do
    [[ " $(names) " == *" $name "* ]] || give_up "--only takes one of $(names), not '$name'"
done
for file in "${packages[@]}"; do
    [[ -f $file ]] || give_up "--package takes a file, and there is no '$file'"
done
[[ $accel =~ ^(auto|kvm|tcg)$ ]] || give_up "--accel takes auto, kvm or tcg, not '$accel'"
[[ $timeout =~ ^[1-9][0-9]*$ ]] || give_up "--timeout takes whole seconds, not '$timeout'"
[[ -n $floor ]] || give_up "gateway/src/kernel/ring_error.rs no longer says MINIMUM_KERNEL"

needs() { command -v "$1" >/dev/null || give_up "$1 is missing (Debian: apt-get install $2)"; }
needs qemu-system-x86_64 qemu-system-x86
needs busybox busybox-static
needs cpio cpio
needs strip binutils
needs dpkg-deb dpkg

pid=
clean_up() {
    if [[ -n $pid ]]; then kill -TERM "$pid" 2>/dev/null || true; fi
    rm -rf "$scratch"
}
scratch=$(mktemp -d)
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if [[ -n $keep ]]; then
    mkdir -p "$keep"
    [[ -z $(ls -A "$keep") ]] || give_up "$keep is not empty: another run's guests are in it"
    said=$(cd "$keep" && pwd)
else
    said=$scratch/said
    mkdir "$said"
fi

at_least() { printf '%s\n' "$2" "$1" | sort -V -C; }

# --- Kernels: packages, and what is taken from them ---

mirror() {
    local found
    # shellcheck disable=SC2016 # Words of apt's own.
    found=${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(REPO_URI)' \
        'Created-By: Packages' 2>/dev/null | sed -n 's/^Debian|Debian|//p' | sed -n 1p)}
    [[ -n $found ]] || {
        say "apt has no mirror of Debian among its sources; name one: DEBIAN_MIRROR=http://..."
        return 1
    }
    echo "$found"
}

# apt with lists and sources of its own, for one suite: the machine's are left alone.
in_suite() {
    local suite=$1 command=$2 state=$scratch/apt/$1
    shift 2
    "$command" -o Dir::Etc::sourcelist="$state/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null \
        -o Dir::State="$state/state" -o Dir::State::status="$state/status" \
        -o Dir::Cache="$state/cache" -o APT::Sandbox::User=root -o Acquire::Languages=none \
        -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false "$@"
}

lists_of() {
    local suite=$1 state=$scratch/apt/$1 keys=/usr/share/keyrings/debian-archive-keyring.gpg from
    [[ ! -e $state/complete ]] || return 0
    [[ -e $keys ]] || {
        say "$keys is missing (Debian: apt-get install debian-archive-keyring)"
        return 1
    }
    from=$(mirror) || return 1
    mkdir -p "$state"/state/lists/partial "$state"/cache/archives/partial
    : >"$state/status"
    echo "deb [arch=amd64 signed-by=$keys] $from $suite main" >"$state/sources.list"
    in_suite "$suite" apt-get update -qq >"$state/log" 2>&1 || {
        tail -n 5 "$state/log" >&2
        say "the lists of Debian's $suite are not to be had"
        return 1
    }
    touch "$state/complete"
}

# The newest package of a suite with a kernel whose version begins like this. Newer packages are
# split: the one that is called image has nothing in it then.
package_of() {
    local suite=$1 begins=$2 kind found
    for kind in binary image; do
        found=$(in_suite "$suite" apt-cache search --names-only \
            "^linux-$kind-$begins.*-cloud-amd64\$" | cut -d ' ' -f 1 | sort -V | tail -n 1)
        [[ -z $found ]] || break
    done
    echo "$found"
}

# The kernel itself, out of a package.
unpack() {
    local package=$1 into=$2 folder=$scratch/unpacked found
    rm -rf "$folder"
    dpkg-deb -x "$package" "$folder"
    found=$(find "$folder" -type f -name 'vmlinuz*' | sed -n 1p)
    [[ -n $found ]] || {
        say "no kernel is in $package"
        return 1
    }
    # The name comes last: with it the kernel is whole.
    { mkdir -p "$into" && cp "$found" "$into/vmlinuz" &&
        dpkg-deb -f "$package" Package >"$folder/package" && mv "$folder/package" "$into"; } || {
        say "a kernel cannot be put into $into"
        return 1
    }
    rm -rf "$folder"
}

fetch() {
    local name=$1 suite=$2 begins=$3 package into=$cache/$1
    if [[ -e $into/package && -z $fresh ]]; then return 0; fi
    lists_of "$suite" || return 1
    package=$(package_of "$suite" "$begins")
    [[ -n $package ]] || {
        say "Debian's $suite has no kernel $begins for a cloud: change the table in $0"
        return 1
    }
    if [[ -e $into/package && $(cat "$into/package") == "$package" ]]; then return 0; fi
    say "downloading $package"
    rm -rf "$scratch/download"
    mkdir -p "$scratch/download"
    (cd "$scratch/download" && in_suite "$suite" apt-get download -qq "$package") || {
        say "$package is not to be had"
        return 1
    }
    rm -rf "$into"
    unpack "$(find "$scratch/download" -name '*.deb')" "$into"
}

# 6.12 of linux-image-6.12.117+deb13-cloud-amd64.
version_of() { sed -nE 's/^linux-[a-z-]*-([0-9]+\.[0-9]+).*/\1/p' "$1/package"; }

# --- The guest ---

build() {
    local into=$1 test arguments=() name release=${CARGO_TARGET_DIR:-$root/target}/release
    mkdir -p "$into"
    for test in "${tests[@]}"; do arguments+=(--test "$test"); done
    say "building"
    (cd "$root" && cargo build --quiet --release -p tidegate -p tidegate-bench) ||
        give_up "the gateway does not build"
    (cd "$root" && cargo test --quiet --no-run --workspace "${arguments[@]}" \
        --message-format=json) >"$scratch/built.json" || give_up "the tests do not build"
    for test in "${tests[@]}"; do
        name=$(sed -nE 's/.*"executable":"([^"]*\/'"$test"'-[0-9a-f]+)".*/\1/p' \
            "$scratch/built.json" | tail -n 1)
        [[ -n $name ]] || give_up "cargo does not say where the test '$test' is"
        ln -s "$name" "$into/$test"
    done
    ln -s "$(realpath "$release/tidegate")" "$(realpath "$release/tidegate-bench")" "$into"
}

# A program, without what only a debugger reads, and the libraries that it is linked with.
put() {
    local program=$1 name=$2 library
    strip --strip-debug -o "$guest/bin/$name" "$program" || give_up "$program is not a program"
    chmod 755 "$guest/bin/$name"
    { ldd "$program" 2>/dev/null || true; } | grep -oE '/[^ )]+' | while read -r library; do
        mkdir -p "$guest/$(dirname "$library")"
        cp -L "$library" "$guest/$library"
    done || true
}

make_guest() {
    local program
    guest=$scratch/guest
    mkdir -p "$guest"/{bin,dev,proc,sys,tmp}
    put "$(command -v busybox)" busybox
    ln -s busybox "$guest/bin/sh"
    for program in "${tests[@]}" tidegate tidegate-bench; do
        [[ -e $binaries/$program ]] || give_up "there is no $program in $binaries"
        put "$(realpath "$binaries/$program")" "$program"
    done
    cp "$here/kernels_guest.sh" "$guest/init"
    chmod 755 "$guest/init"
    (cd "$guest" && find . | cpio -o -H newc -R 0:0 --quiet) >"$scratch/initrd"
}

# Boots a kernel; what the guest says is in FOLDER/guest.log, what its kernel says beside it.
boot() {
    local kernel=$1 folder=$2 how=$3 seconds=$4 code=0
    shift 4
    mkdir -p "$folder"
    timeout --kill-after=5 "$seconds" qemu-system-x86_64 -accel "$how" -cpu max -smp 2 -m 2G \
        -nodefaults -no-user-config -display none -no-reboot \
        -kernel "$kernel" -initrd "$scratch/initrd" \
        -append "console=ttyS0 quiet panic=-1 random.trust_cpu=on $*" \
        -serial "file:$folder/console.log" -serial "file:$folder/serial.log" \
        >"$folder/qemu.log" 2>&1 </dev/null &
    pid=$!
    # What bash itself says of a child that was aborted is no news: qemu.log has the reason.
    { wait "$pid" || code=$?; } 2>/dev/null
    pid=
    touch "$folder"/{console,serial}.log
    tr -d '\r' <"$folder/serial.log" >"$folder/guest.log"
    rm "$folder/serial.log"
    return "$code"
}

# KVM is not taken on trust: one that is nested, or in software, may not carry every kernel.
choose_accel() {
    local kernel=$1
    [[ $accel == auto ]] || return 0
    accel=tcg
    if [[ ! -w /dev/kvm ]]; then
        say "/dev/kvm cannot be used: emulating"
    elif boot "$kernel" "$said/kvm" kvm 20 TIDEGATE_ONLY_SAY=1 &&
        grep -q '^kernel ' "$said/kvm/guest.log"; then
        accel=kvm
    else
        say "KVM does not carry this kernel here ($(sed -n 1p "$said/kvm/qemu.log")): emulating"
    fi
}

# --- What came of it ---

# The lines of one test binary.
lines_of() { awk -v name="$2" '$1 == "run" { if ($2 == name) printf "%s", text; text = ""; next }
    { text = text $0 "\n" }' "$1"; }

# One word for what became of a test binary's rules, and for a failure how many failed.
rules() {
    local log=$1 name=$2 code lines passed failed panics floors
    code=$(sed -n "s/^run $name //p" "$log")
    [[ -n $code ]] || { echo unfinished; return; }
    lines=$(lines_of "$log" "$name")
    passed=$(sed -nE 's/^test result: .* ([0-9]+) passed;.*/\1/p' <<<"$lines")
    failed=$(sed -nE 's/^test result: .* ([0-9]+) failed;.*/\1/p' <<<"$lines")
    panics=$(grep -c "^thread '.* panicked at " <<<"$lines" || true)
    floors=$(grep -cE "^this kernel (lacks|has no) .*: Linux $floor or later is needed" \
        <<<"$lines" || true)
    if ((code == 0 && ${passed:-0} > 0 && ${failed:-1} == 0)); then
        echo "hold $passed"
    elif ((${passed:-1} == 0 && ${failed:-0} > 0 && panics >= failed && panics == floors)); then
        echo refused
    else
        echo "FAIL ${failed:-all}"
    fi
}

failed=0
unavailable=0
# What a kernel says of a defect of its own.
stumbles='BUG:|Oops|Call Trace'
# shellcheck disable=SC2016 # Markdown.
table=('| kernel | `auto` takes | rules by io_uring | as before 6.10 | by epoll | smoke test |'
    '|---|---|---|---|---|---|')

# Holds one finding against what was expected; a wrong one is marked.
finding() {
    local found=$1 expected=$2 shown=$3
    if [[ ${found%% *} == "$expected" ]]; then
        cells+=("$shown")
    else
        cells+=("**$found**, expected $expected")
        wrong=1
    fi
}

judge() {
    local name=$1 version=$2 folder=$3 code=$4 log=$3/guest.log wrong=0 cells=() row from release
    local driver rules smoke test found failing=()
    for row in "${expectations[@]}"; do
        read -r from _ <<<"$row"
        if at_least "$version" "$from"; then
            read -r _ driver "rules[0]" "rules[1]" "rules[2]" smoke <<<"$row"
        fi
    done
    release=$(sed -n 's/^kernel //p' "$log")
    cells=("${release:-$name does not boot}")
    [[ $release == "$version"[.-]* ]] || wrong=1
    found=$(sed -n 's/^driver //p' "$log")
    finding "${found:-unsaid}" "$driver" "$found"
    for test in 0 1 2; do
        found=$(rules "$log" "${tests[test]}")
        if [[ $found == FAIL* ]]; then failing+=("${tests[test]}"); fi
        # Those about order were left out: see `run_kernel`.
        if [[ ${rules[test]} == unordered ]]; then found=${found/#hold/unordered}; fi
        finding "$found" "${rules[test]}" "$found"
    done
    found=$(sed -n 's/^smoke //p' "$log")
    finding "${found:-missing}" "$smoke" ok
    table+=("$(printf '| %s ' "${cells[@]}")|")
    if grep -qE "$stumbles" "$folder/console.log"; then
        say "$name: its kernel stumbled: $(grep -m 1 -E "$stumbles" "$folder/console.log")"
        wrong=1
    fi
    if ! grep -qx end "$log"; then
        say "$name: the guest did not get to its end; QEMU's exit code is $code (124: it was" \
            "ended after $timeout s)"
        wrong=1
    fi
    ((wrong)) || return 0
    failed=1
    say "$name: not what its version says; what failed, and the last lines of the guest:"
    for test in "${failing[@]}"; do
        lines_of "$log" "$test" | grep -m 20 -E '^test .* FAILED$' | sed "s/^test/$test:/" || true
    done >&2
    tail -n 30 "$log" >&2
    tail -n 5 "$folder/console.log" "$folder/qemu.log" >&2
}

run_kernel() {
    local name=$1 from=$2 version code=0 words=() began=$SECONDS
    version=$(version_of "$from")
    [[ -n $version ]] || give_up "$(cat "$from/package") is not named as a kernel is"
    if at_least "$version" "$floor" && ! at_least "$version" 6.10; then
        words=(TIDEGATE_SKIP=accepting_in_order)
    fi
    choose_accel "$from/vmlinuz"
    boot "$from/vmlinuz" "$said/$name" "$accel" "$timeout" "${words[@]}" || code=$?
    judge "$name" "$version" "$said/$name" "$code"
    say "$name: $((SECONDS - began)) s by $accel"
}

if [[ -z $binaries ]]; then
    binaries=$scratch/binaries
    build "$binaries"
fi
make_guest
for row in "${kernels[@]}"; do
    read -r name suite begins <<<"$row"
    if ((${#only[@]})); then
        [[ " ${only[*]} " == *" $name "* ]] || continue
    elif ((${#packages[@]})); then
        continue
    fi
    if fetch "$name" "$suite" "$begins"; then
        run_kernel "$name" "$cache/$name"
    else
        unavailable=1
    fi
done
for file in "${packages[@]}"; do
    name=$(basename "$file" .deb)
    unpack "$file" "$scratch/kernels/$name" || exit 2
    run_kernel "$name" "$scratch/kernels/$name"
done

((${#table[@]} == 2)) || printf '%s\n' "${table[@]}"
((failed == 0)) || exit 1
((unavailable == 0)) || exit 2
