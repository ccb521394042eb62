#!/usr/bin/env bash
# Runs the browser tests of the console and of the operator's page against the gateway. See --help.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tools/gateway.sh
source "$here/../../tools/gateway.sh"

usage() {
    cat <<EOF
usage: tests/browser/run.sh [--full]

Starts target/release/tidegate without a configuration on a free port of 127.0.0.1, opens its page
in headless Chromium and uses the console on it as a person would; ends the gateway again. Then the
console once more, with a gateway whose rooms tell events. Then every view of the operator's page,
with gateways of its own, and what pages of other origins may read. Then the client library through 15 restarts (100 with --full), its examples,
and the console through a restart; pictures go to target/screenshots. npm's packages are installed
into tests/browser/node_modules if they are not there.

  CHROMIUM              the browser (default: /usr/bin/chromium)
  TIDEGATE_BIN          another gateway binary
  TIDEGATE_URL          the page of a server that runs already: the console alone is tried then

exit codes: 0 passed, 1 failed, 2 the packages or the gateway could not be set up,
            77 skipped: no browser, no node
EOF
}

say() { printf 'browser test: %s\n' "$*" >&2; }

rounds=15
case ${1:-} in
    '') ;;
    --full) rounds=100 ;;
    --help) usage; exit 0 ;;
    *) say "unknown argument '$1'; see --help"; exit 2 ;;
esac

CHROMIUM=${CHROMIUM:-/usr/bin/chromium}
if [[ ! -x $CHROMIUM ]]; then
    say "skipped: there is no $CHROMIUM (Debian: apt-get install chromium)"
    exit 77
fi
for program in node npm; do
    if ! command -v "$program" >/dev/null; then
        say "skipped: $program is missing"
        exit 77
    fi
done
node_major=$(node --print 'process.versions.node.split(".")[0]')
if ((node_major < 20)); then
    say "skipped: node $node_major is too old, the test needs 20"
    exit 77
fi

# npm writes the hidden lock file last: older than the lock file means outdated or half done.
if [[ ! $here/node_modules/.package-lock.json -nt $here/package-lock.json ]]; then
    npm --prefix "$here" ci >&2 || {
        say "npm could not install the packages"
        exit 2
    }
fi

# Rooms that tell events, for the console.
events_config() {
    cat >"$1" <<'TOML'
[[topic]]
name = "rooms/{room}"
history = 100
presence = true
linger = "0s"

[[route]]
path = "/"
handler = "static"

[[route]]
path = "/rooms/{room}"
handler = "hub?topic=rooms/{room}&events=on"
TOML
}

run_events_test() {
    local config
    config=$(mktemp --suffix=.toml) || return 1
    events_config "$config"
    if gateway_start --config "$config"; then
        TIDEGATE_URL=http://127.0.0.1:$gateway_port/ run_test events.test.mjs
        gateway_stop || failed=1
    else
        failed=1
    fi
    rm -f "$config"
}

# What pages of other origins may read: those of any port of localhost, and nobody's.
cors_config() {
    cat >"$1" <<'TOML'
[[route]]
path = "/"
handler = "static"

[[route]]
path = "/health"
handler = "health"
cors = { origins = ["http://localhost:*"], methods = ["PUT"], headers = ["x-asked"], credentials = true }
TOML
}

run_cors_test() {
    local config
    config=$(mktemp --suffix=.toml) || return 1
    cors_config "$config"
    if gateway_start --config "$config"; then
        TIDEGATE_URL=http://127.0.0.1:$gateway_port/ run_test cors.test.mjs
        gateway_stop || failed=1
    else
        failed=1
    fi
    rm -f "$config"
}

run_test() {
    timeout --kill-after=10 $((170 + 10 * rounds)) node --test "$here/$1" || failed=1
}

failed=0
trap gateway_abandon EXIT
if [[ -z ${TIDEGATE_URL:-} ]]; then
    # shellcheck disable=SC2119 # Without a configuration: the page is part of what that serves.
    gateway_start || exit 2
    TIDEGATE_URL=http://127.0.0.1:$gateway_port/
fi
export CHROMIUM TIDEGATE_URL
run_test console.test.mjs
if [[ -n $gateway_pid ]]; then
    gateway_stop || failed=1
    rm -f "$gateway_log"
    run_events_test
    run_cors_test
    TIDEGATE_BIN=$gateway_binary run_test operator.test.mjs
    TIDEGATE_BIN=$gateway_binary TIDEGATE_ROUNDS=$rounds run_test clients.test.mjs
fi
((failed == 0))
