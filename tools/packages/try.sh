#!/usr/bin/env bash
# Builds the Debian package and tries it in a Debian of its own. See --help.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/tidegate
# The package is for the release that it is built on.
suite=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
deb=

usage() {
    cat <<EOF
usage: tools/packages/try.sh [--suite NAME] [--deb FILE]

Builds the package by \`cargo deb -p tidegate --strip\`, makes a small Debian in a folder by debootstrap (once,
into $cache), and there installs the package,
looks at its files and its units, runs the service as its user and with what stands for the service
manager, echoes over a WebSocket, rotates the log, upgrades, removes and purges. systemd itself does not
run in such a folder, so of the unit only what try_service.py says is tried; \`systemd-analyze\` reads all
of it. Has to be run as root; wants cargo-deb, debootstrap, python3 and dpkg-deb.

  --suite NAME    another release of Debian than $suite; not an older one than the package is built on
  --deb FILE      a package that is there already; none is built then

exit codes: 0 all was as it should be, 1 something was not,
            2 the package could not be built, or the Debian could not be set up
EOF
}

say() { printf 'packages: %s\n' "$*" >&2; }
give_up() {
    say "$@"
    exit 2
}
fail() {
    say "$@"
    exit 1
}

while (($#)); do
    case $1 in
        --help) usage; exit 0 ;;
        --suite) suite=${2:?--suite needs a value}; shift 2 ;;
        --deb) deb=$(realpath "${2:?--deb needs a value}"); shift 2 ;;
        *) give_up "unknown argument '$1'; see --help" ;;
    esac
done

[[ $(id -u) -eq 0 ]] || give_up "only root can make a Debian in a folder: sudo tools/packages/try.sh"
for tool in debootstrap python3 dpkg-deb unshare; do
    PATH=$PATH:/usr/sbin command -v "$tool" >/dev/null ||
        give_up "$tool is missing (Debian: apt-get install debootstrap python3 dpkg util-linux)"
done

scratch=$(mktemp -d)
debian=$scratch/debian
trap 'rm -rf --one-file-system "$scratch"' EXIT

if [[ -z $deb ]]; then
    command -v cargo-deb >/dev/null ||
        give_up "cargo-deb is missing (cargo install --locked cargo-deb)"
    (cd "$root" && cargo deb --quiet --strip -p tidegate --output "$scratch/") >/dev/null ||
        give_up "the package could not be built"
    deb=$(echo "$scratch"/tidegate_*.deb)
fi

# A folder for each list of packages: after a change, a new one is made.
packages=systemd,logrotate
base=$cache/debian-$suite-$(echo "$packages" | sha256sum | cut -c1-12)
if [[ ! -e $base/complete ]]; then
    say "making a Debian in $base"
    rm -rf --one-file-system "$base"
    mkdir -p "$base"
    # Its mounts go with it, however it ends.
    PATH=$PATH:/usr/sbin:/sbin unshare --mount debootstrap --variant=minbase --include="$packages" "$suite" \
        "$base/root" >"$base/debootstrap.log" 2>&1 || {
        tail -n 15 "$base/debootstrap.log" >&2
        give_up "debootstrap failed; all it said is in $base/debootstrap.log"
    }
    rm -rf "$base"/root/var/cache/apt/archives/*.deb "$base"/root/var/lib/apt/lists/*
    touch "$base/complete"
fi
cp -a --reflink=auto "$base/root" "$debian"

# Runs a command where that Debian is all there is. Nobody is asked anything.
inside() {
    # shellcheck disable=SC2016 # The inner shell's.
    DEBIAN_FRONTEND=noninteractive LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin \
        SYSTEMD_COLORS=0 SYSTEMD_URLIFY=0 timeout --kill-after=5 120 unshare --mount --pid --fork --kill-child=KILL sh -c \
        'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"' "$debian" "$@" </dev/null
}

quietly() {
    local log
    log=$(inside "$@" 2>&1) || {
        printf '%s\n' "$log" >&2
        fail "failed: $*"
    }
}

# The mode and the owners of a file of the package, and that it is there.
expect_file() {
    local found
    found=$(inside stat -c '%a %U:%G' "$2" 2>&1) || fail "$2 is missing"
    [[ $found == "$1" ]] || fail "$2 is $found, and should be $1"
}

configuration=/etc/tidegate/tidegate.toml

check_files() {
    local file
    expect_file '755 root:root' /usr/bin/tidegate
    expect_file '640 root:tidegate' "$configuration"
    for file in /etc/logrotate.d/tidegate \
        /usr/lib/systemd/system/tidegate.{service,socket} /usr/lib/sysusers.d/tidegate.conf \
        /usr/share/man/man1/tidegate.1.gz /usr/share/bash-completion/completions/tidegate \
        /usr/share/zsh/vendor-completions/_tidegate \
        /usr/share/fish/vendor_completions.d/tidegate.fish \
        /usr/share/doc/tidegate/{copyright,changelog.Debian.gz,README.md,CHANGELOG.md,METRICS.md} \
        /usr/share/doc/tidegate/examples/{tidegate.toml,log-to-file.conf}; do
        expect_file '644 root:root' "$file"
    done
    zgrep -qF '\-\-listen' "$debian/usr/share/man/man1/tidegate.1.gz" ||
        fail "the man page does not name --listen"
    zgrep -q "^tidegate ($(dpkg-deb -f "$deb" Version))" \
        "$debian/usr/share/doc/tidegate/changelog.Debian.gz" ||
        fail "tools/packages/deb/changelog does not begin with this version"
    [[ -L $debian/etc/systemd/system/multi-user.target.wants/tidegate.service ]] ||
        fail "the service is not enabled"
    [[ ! -e $debian/etc/systemd/system/sockets.target.wants/tidegate.socket ]] ||
        fail "the socket is enabled"
}

check_units() {
    local said
    said=$(inside systemd-analyze verify --man=no tidegate.service tidegate.socket 2>&1) ||
        fail "systemd-analyze verify: $said"
    [[ -z $said ]] || fail "systemd-analyze verify: $said"
    said=$(inside systemd-analyze security --offline=true --no-pager --threshold=20 \
        tidegate.service 2>&1) || fail "systemd-analyze security: $said"
    say "$(tail -n 1 <<<"$said" | tr -s ' ' | cut -d ' ' -f 2-)"
}

check_configuration() {
    quietly setpriv --reuid=tidegate --regid=tidegate --init-groups \
        tidegate --config "$configuration" --check
    ! inside setpriv --reuid=nobody --regid=nogroup --clear-groups cat "$configuration" \
        >/dev/null 2>&1 || fail "anyone may read $configuration"
}

# A package of a later version whose configuration is another.
later_package() {
    dpkg-deb -R "$deb" "$scratch/later"
    sed -i 's/^Version: .*/&+later/' "$scratch/later/DEBIAN/control"
    echo '# A later package.' >>"$scratch/later$configuration"
    rm -f "$scratch/later/DEBIAN/md5sums"
    dpkg-deb --root-owner-group -b "$scratch/later" "$debian/tmp/later.deb" >/dev/null
}

check_upgrades() {
    local package
    echo '# Changed here.' >>"$debian$configuration"
    chmod 0600 "$debian$configuration"
    chown 0:0 "$debian$configuration"
    for package in tidegate.deb later.deb; do
        quietly dpkg --force-confdef --force-confold -i "/tmp/$package"
        [[ $(tail -n 1 "$debian$configuration") == '# Changed here.' ]] ||
            fail "$package has changed $configuration"
        expect_file '600 root:root' "$configuration"
    done
}

check_end() {
    local left
    quietly dpkg --remove tidegate
    [[ ! -e $debian/usr/bin/tidegate ]] || fail "a removed package leaves its program"
    [[ -e $debian$configuration ]] || fail "a removed package takes its configuration away"
    quietly dpkg --purge tidegate
    rm "$debian"/tmp/*.deb
    left=$(find "$debian" -xdev -iname '*tidegate*')
    [[ -z $left ]] || fail "a purged package leaves: $left"
    ! grep -s tidegate "$debian"/etc/{passwd,group,shadow,gshadow} ||
        fail "a purged package leaves its user"
    left=$(inside dpkg --audit)
    [[ -z $left ]] || fail "dpkg --audit: $left"
}

# Whoever had a user of this name before has it afterwards.
check_user_of_others() {
    quietly useradd --system --comment 'not of the package' --shell /usr/sbin/nologin tidegate
    quietly dpkg -i /tmp/tidegate.deb
    quietly dpkg --purge tidegate
    grep -q '^tidegate:.*not of the package' "$debian/etc/passwd" ||
        fail "a purged package takes a user away that was there before"
    quietly userdel tidegate
}

cp "$deb" "$debian/tmp/tidegate.deb"
check_user_of_others
later_package
quietly dpkg -i /tmp/tidegate.deb
check_files
check_units
check_configuration
timeout --kill-after=5 120 python3 "$here/try_service.py" "$debian" || fail "the service failed"
check_upgrades
check_end
say "$(basename "$deb") installs, serves, upgrades, goes"
