#!/usr/bin/env bash
# Plays the request cases of other projects against the gateway. See --help.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tools/gateway.sh
source "$here/../../tools/gateway.sh"

usage() {
    cat <<EOF
usage: tests/smuggling/run.sh [--write]

Starts target/release/tidegate and plays the request cases that the Python package gunicorn and the crate
http_desync_guardian bring with their tests, among them many that have two meanings, against a listener and
the admin address: whole, byte by byte, and cut in the middle of the head, with another request behind each.
What comes of each is compared with expected.txt. Both packages are fetched once, at the versions that
corpora.txt says, into ${XDG_CACHE_HOME:-$HOME/.cache}/tidegate. Needs Python 3.11 with venv, and cargo.

  --write         write expected.txt anew, with the reasons that are there; read what has changed
  TIDEGATE_BIN    another gateway binary

exit codes: 0 all came as expected, 1 some did not, 2 the cases or the gateway could not be set up
EOF
}

say() { printf 'smuggling: %s\n' "$*" >&2; }
give_up() {
    say "$@"
    exit 2
}

written=()
case ${1:-} in
    '') ;;
    --help) usage; exit 0 ;;
    --write) written=(--write) ;;
    *) give_up "unknown argument '$1'; see --help" ;;
esac

version_of() { awk -v name="$1" '$1 == name { print $2 }' "$here/corpora.txt"; }

# A folder for each set of versions: after a change of one a new folder is made.
key=$(cat "$here/corpora.txt" "$here/requirements.txt" "${BASH_SOURCE[0]}" | sha256sum | cut -c1-12)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/tidegate/smuggling-$key
gunicorn=gunicorn-$(version_of gunicorn)
guardian=http_desync_guardian-$(version_of http_desync_guardian)

fetch() {
    python3 -m venv "$cache/python" &&
        "$cache/python/bin/pip" install -r "$here/requirements.txt" &&
        "$cache/python/bin/pip" download --no-deps --no-binary :all: --dest "$cache" \
            "gunicorn==$(version_of gunicorn)" &&
        tar -xzf "$cache/$gunicorn.tar.gz" -C "$cache" || return 1
    mkdir -p "$cache/crate/src"
    printf '' >"$cache/crate/src/lib.rs"
    cat >"$cache/crate/Cargo.toml" <<TOML || return 1
[package]
name = "cases"
version = "0.0.0"
edition = "2024"
[workspace]
[dependencies]
http_desync_guardian = "=$(version_of http_desync_guardian)"
TOML
    cargo vendor --quiet --versioned-dirs --manifest-path "$cache/crate/Cargo.toml" "$cache/vendor" &&
        cp -r "$cache/vendor/$guardian" "$cache" && rm -rf "$cache/vendor"
}

if [[ ! -e $cache/complete ]]; then
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        give_up "Python 3.11 or newer is missing"
    command -v cargo >/dev/null || give_up "cargo is missing"
    say "fetching into $cache"
    rm -rf "$cache"
    mkdir -p "$cache"
    fetch >"$cache/fetch.log" 2>&1 || {
        tail -n 15 "$cache/fetch.log" >&2
        give_up "the packages could not be fetched; all of it is in $cache/fetch.log"
    }
    touch "$cache/complete"
fi

scratch=$(mktemp -d)
trap 'gateway_abandon; rm -rf "$scratch"' EXIT
# Whatever is asked for is there, so that a request is refused for what it is alone.
cat >"$scratch/tidegate.toml" <<'TOML'
shards = 1
[admin]
connections = 256
[[route]]
path = "/"
handler = "static"
[[route]]
path = "/{*all}"
handler = "static"
TOML
gateway_start --config "$scratch/tidegate.toml" || exit 2

failed=0
timeout --kill-after=10 300 "$cache/python/bin/python" "$here/play.py" "$gateway_port" \
    "${gateway_admin##*:}" "$cache/$gunicorn" "$cache/$guardian" "${written[@]}" || failed=1
gateway_stop || failed=1
((failed == 0))
