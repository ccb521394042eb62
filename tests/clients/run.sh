#!/usr/bin/env bash
# Runs the clients that others wrote against the gateway's echo. See --help.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tools/gateway.sh
source "$here/../../tools/gateway.sh"
# shellcheck source=tests/clients/install.sh
source "$here/install.sh"

usage() {
    cat <<EOF
usage: tests/clients/run.sh [--full] [--url ws://HOST:PORT/PATH]

Starts target/release/tidegate with an echo route on a free port of 127.0.0.1, runs Python's
websockets and npm's ws against it, and at its admin address boto3, Node's http.Agent (half a minute
of posts over connections that are kept) and schemathesis, which makes up requests from /openapi.json;
ends it again. Then the client libraries, tools/js in Node and Deno and tools/python, each with
gateways of its own, through restarts of these and cuts of the network, in Node also behind nginx.
Needs Python 3.11 with venv, Node.js 20 with npm, and nginx, without which that is left out; the
packages are installed once, at the versions pinned beside this script, into
${XDG_CACHE_HOME:-$HOME/.cache}/tidegate.

  --full          100 restarts for each client library, not 15
  --url URL       an echo server that runs already; none is started then, and no admin address tried,
                  nor client libraries
  TIDEGATE_BIN    another gateway binary

exit codes: 0 every check of both passed, 1 some did not,
            2 the clients or the gateway could not be set up
EOF
}

say() { printf 'clients: %s\n' "$*" >&2; }
give_up() {
    say "$@"
    exit 2
}

url=
rounds=15
while (($#)); do
    case $1 in
        --help) usage; exit 0 ;;
        --full) rounds=100; shift ;;
        --url) url=${2:?--url needs a value}; shift 2 ;;
        *) give_up "unknown argument '$1'; see --help" ;;
    esac
done

clients_install clients "$here/requirements.txt" "$here/node_ws"

scratch=$(mktemp -d)
trap 'gateway_abandon; rm -rf "$scratch"' EXIT
if [[ -z $url ]]; then
    gateway_echo_config "$scratch/tidegate.toml"
    cat >>"$scratch/tidegate.toml" <<'TOML'
[[route]]
path = "/rooms/{room}"
handler = "hub?topic=rooms/{room}"

[hub]
max_message = "128KiB"
TOML
    gateway_start --config "$scratch/tidegate.toml" || exit 2
    url=ws://127.0.0.1:$gateway_port/echo
fi

failed=0
bounded=(timeout --kill-after=10 300)
bounded_by_rounds=(timeout --kill-after=10 $((120 + 10 * rounds)))
"${bounded[@]}" "$clients_cache/python/bin/python" "$here/python_websockets.py" "$url" || failed=1
export NODE_PATH=$clients_cache/node_modules
"${bounded[@]}" node "$here/node_ws/echo.cjs" "$url" || failed=1

# That a request fits the schema does not make it right: an id may be of nobody, a name may have
# control characters. No drain is made up: it would end what answers the rest. Everything else that
# schemathesis knows is checked.
check_admin() {
    "${bounded[@]}" "$clients_cache/python/bin/python" "$here/boto3_connections.py" \
        "ws://127.0.0.1:$gateway_port/rooms/boto3" "http://$gateway_admin" || failed=1
    "${bounded[@]}" node "$here/node_ws/agent.cjs" "http://$gateway_admin" 30 || failed=1
    if NO_PROXY=127.0.0.1 "${bounded[@]}" "$clients_cache/python/bin/schemathesis" --no-color \
        --config-file "$here/schemathesis.toml" run \
        "http://$gateway_admin/openapi.json" --max-examples 25 --seed 1 --max-time 90 \
        --generation-database none --request-timeout 12 --exclude-name 'POST /v1/drain' \
        --exclude-checks positive_data_acceptance >"$scratch/schemathesis.log" 2>&1; then
        echo "schemathesis: $(tail -n 1 "$scratch/schemathesis.log" | tr -d =)"
    else
        cat "$scratch/schemathesis.log"
        failed=1
    fi
}

# The libraries start gateways themselves, to end them.
check_libraries() {
    local deno=$clients_cache/node_modules/.bin/deno library=$here/js storm
    export TIDEGATE_BIN=$gateway_binary
    storm=("$library/storm.mjs" "$rounds")
    "${bounded[@]}" node "$library/behaviour.mjs" || failed=1
    "${bounded_by_rounds[@]}" node "${storm[@]}" || failed=1
    if [[ -x /usr/sbin/nginx ]]; then
        "${bounded_by_rounds[@]}" node "${storm[@]}" nginx || failed=1
    else
        say "left out: there is no /usr/sbin/nginx (Debian: apt-get install nginx-light)"
    fi
    "${bounded[@]}" "$deno" run --quiet -A --no-config "$library/behaviour.mjs" || failed=1
    "${bounded_by_rounds[@]}" "$deno" run --quiet -A --no-config "${storm[@]}" || failed=1
    "${bounded_by_rounds[@]}" "$clients_cache/python/bin/python" "$here/python_tidegate.py" \
        "$gateway_binary" "$rounds" || failed=1
}
if [[ -n $gateway_pid ]]; then
    check_admin
    gateway_stop || failed=1
    check_libraries
fi
((failed == 0))
