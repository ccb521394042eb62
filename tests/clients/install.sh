# shellcheck shell=bash
# Sourced, not run: installs packages that others wrote, once, at the versions that are pinned.
#
#   clients_install NAME REQUIREMENTS NODE   those of the file REQUIREMENTS for Python, and those of
#                   the lock file in the folder NODE for Node; sets clients_cache, with a `python`
#                   and `node_modules` in it. NAME is in the name of that folder
#
# The script that sources it has `say`, and `give_up`, which ends it.

clients_cache=

# A folder for each pair of versions: after a change of either, or of this file, a new one is made.
clients_install() {
    local name=$1 requirements=$2 node=$3 key log
    key=$(cat "$requirements" "$node/package-lock.json" "${BASH_SOURCE[0]}" | sha256sum | cut -c1-12)
    clients_cache=${XDG_CACHE_HOME:-$HOME/.cache}/tidegate/$name-$key
    [[ ! -e $clients_cache/complete ]] || return 0
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        give_up "Python 3.11 or newer is missing"
    command -v npm >/dev/null ||
        give_up "node and npm are missing (Debian: apt-get install nodejs npm)"
    say "installing into $clients_cache"
    log=$clients_cache/install.log
    rm -rf "$clients_cache"
    mkdir -p "$clients_cache"
    cp "$node"/{package.json,package-lock.json,.npmrc} "$clients_cache"
    { python3 -m venv "$clients_cache/python" &&
        "$clients_cache/python/bin/pip" install -r "$requirements" &&
        npm --prefix "$clients_cache" ci; } >"$log" 2>&1 || {
        tail -n 15 "$log" >&2
        give_up "the installation failed; all of it is in $log"
    }
    touch "$clients_cache/complete"
}
