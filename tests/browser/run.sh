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
in headless Chromium and uses the console on it as a person would, and then the operator's page at
the admin address that it prints; ends the gateway again. Then the console once more, with a gateway
whose rooms tell events. Then the client library through 15 restarts (100 with --full), its examples,
and the console through a restart; pictures go to target/screenshots. npm's packages are installed into tests/browser/node_modules if they are
not there.

  CHROMIUM              the browser (default: /usr/bin/chromium)
  TIDEGATE_BIN          another gateway binary
  TIDEGATE_URL          the page of a server that runs already; none is started then, and rooms
                        that tell events are left out
  TIDEGATE_ADMIN_URL    its operator's page, which is left out if this is not given
  TIDEGATE_ADMIN_TOKEN  the token that it asks for, if it does

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

# Where the gateway that was started says its admin address is.
admin_url() {
    local address
    address=$(sed -n 's/.*admin on \([^ ]*:[0-9]*\).*/\1/p' "$gateway_log" | head -n 1)
    if [[ -n $address ]]; then
        echo "http://$address/"
    fi
}

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

run_test() {
    timeout --kill-after=10 $((170 + 10 * rounds)) node --test "$here/$1" || failed=1
}

failed=0
trap gateway_abandon EXIT
if [[ -z ${TIDEGATE_URL:-} ]]; then
    # shellcheck disable=SC2119 # Without a configuration: the page is part of what that serves.
    gateway_start || exit 2
    TIDEGATE_URL=http://127.0.0.1:$gateway_port/
    TIDEGATE_ADMIN_URL=$(admin_url)
fi
export CHROMIUM TIDEGATE_URL TIDEGATE_ADMIN_URL
run_test console.test.mjs
if [[ -n ${TIDEGATE_ADMIN_URL:-} ]]; then
    run_test operator.test.mjs
else
    say "the operator's page is not tested: no admin address is known"
fi
if [[ -n $gateway_pid ]]; then
    gateway_stop || failed=1
    rm -f "$gateway_log"
    run_events_test
    TIDEGATE_BIN=$gateway_binary TIDEGATE_ROUNDS=$rounds run_test clients.test.mjs
fi
((failed == 0))
