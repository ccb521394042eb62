#!/usr/bin/env bash
# Runs the browser test of the console page against the gateway. See --help.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tools/gateway.sh
source "$here/../../tools/gateway.sh"

usage() {
    cat <<EOF
usage: tests/browser/run.sh

Starts target/release/tidegate without a configuration on a free port of 127.0.0.1, opens its page
in headless Chromium and uses the console on it as a person would; ends the gateway again. npm's
packages are installed into tests/browser/node_modules if they are not there.

  CHROMIUM        the browser (default: /usr/bin/chromium)
  TIDEGATE_BIN    another gateway binary
  TIDEGATE_URL    the page of a server that runs already; none is started then

exit codes: 0 passed, 1 failed, 2 the packages or the gateway could not be set up,
            77 skipped: no browser, no node
EOF
}

say() { printf 'browser test: %s\n' "$*" >&2; }

case ${1:-} in
    '') ;;
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

failed=0
trap gateway_abandon EXIT
if [[ -z ${TIDEGATE_URL:-} ]]; then
    # shellcheck disable=SC2119 # Without a configuration: the page is part of what that serves.
    gateway_start || exit 2
    TIDEGATE_URL=http://127.0.0.1:$gateway_port/
fi
CHROMIUM=$CHROMIUM TIDEGATE_URL=$TIDEGATE_URL timeout --kill-after=10 180 \
    node --test "$here/console.test.mjs" || failed=1
if [[ -n $gateway_pid ]]; then
    gateway_stop || failed=1
fi
((failed == 0))
