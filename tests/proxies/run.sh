#!/usr/bin/env bash
# Runs the gateway's layer `proxy` behind proxies that others wrote. See --help.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tools/gateway.sh
source "$here/../../tools/gateway.sh"

usage() {
    cat <<EOF
usage: tests/proxies/run.sh

Starts target/release/tidegate with a listener that believes 127.0.0.1, and HAProxy in front of it: with
version 1, version 2, version 2 with all that it can say besides, in mode http, and with health checks. If
nginx has its stream module (Debian: libnginx-mod-stream), that as well. Clients come from 127.0.0.77 through
each, and the admin address has to tell of that; the log has what HAProxy calls them.

Needs haproxy and python3.

  TIDEGATE_BIN    another gateway binary

exit codes: 0 every check passed, 1 some did not, 2 the proxies or the gateway could not be set up
EOF
}

give_up() {
    printf 'proxies: %s\n' "$@" >&2
    exit 2
}

case ${1:-} in
    '') ;;
    --help) usage; exit 0 ;;
    *) give_up "unknown argument '$1'; see --help" ;;
esac
for program in haproxy python3; do
    command -v "$program" >/dev/null || give_up "$program is missing"
done

folder=$(mktemp -d)
proxies=()
cleanup() {
    ((${#proxies[@]} == 0)) || kill "${proxies[@]}" 2>/dev/null || true
    gateway_abandon
    rm -rf "$folder"
}
trap cleanup EXIT

names=(behind v1 v2 v2-all http nginx)
gateway_choose_ports "${names[@]}" || exit 2
cat >"$folder/tidegate.toml" <<TOML
[[route]]
path = "/echo"
handler = "echo"

[[route]]
path = "/rooms/{room}"
handler = "hub?topic=rooms/{room}"

[[listener]]
address = "127.0.0.1:$gateway_port"
stack = "ws!tcp"

[[listener]]
address = "127.0.0.1:${port_of[behind]}"
stack = "log!ws!log!proxy?from=127.0.0.1!tcp"
TOML
gateway_start_configured --config "$folder/tidegate.toml" || exit 2

server=127.0.0.1:${port_of[behind]}
cat >"$folder/haproxy.cfg" <<CFG
global
    maxconn 100
defaults
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    timeout tunnel 30s
listen v1
    mode tcp
    bind 127.0.0.1:${port_of[v1]}
    server one $server send-proxy
listen v2
    mode tcp
    bind 127.0.0.1:${port_of[v2]}
    server one $server send-proxy-v2 check inter 200ms
listen v2-all
    mode tcp
    bind 127.0.0.1:${port_of[v2-all]}
    unique-id-format %{+X}o\\ %ci:%cp_%fi:%fp_%Ts_%rt:%pid
    server one $server send-proxy-v2-ssl-cn proxy-v2-options crc32c,unique-id,authority
listen http
    mode http
    bind 127.0.0.1:${port_of[http]}
    server one $server send-proxy-v2
CFG
haproxy -c -q -f "$folder/haproxy.cfg" || give_up 'HAProxy refuses its configuration'
haproxy -db -f "$folder/haproxy.cfg" >"$folder/haproxy.log" 2>&1 &
proxies+=("$!")

tried=(v1 v2 v2-all http)
stream=/usr/lib/nginx/modules/ngx_stream_module.so
if command -v nginx >/dev/null && [[ -e $stream ]]; then
    cat >"$folder/nginx.conf" <<CONF
load_module $stream;
daemon off;
master_process off;
pid $folder/nginx.pid;
error_log $folder/nginx.log;
events { worker_connections 100; }
stream {
    server {
        listen 127.0.0.1:${port_of[nginx]};
        proxy_pass $server;
        proxy_protocol on;
    }
}
CONF
    nginx -e "$folder/nginx.log" -p "$folder" -c "$folder/nginx.conf" >"$folder/nginx.out" 2>&1 &
    proxies+=("$!")
    tried+=(nginx)
else
    echo 'nginx is left out: it, or its stream module, is missing'
fi

failed=0
arguments=()
for name in "${tried[@]}"; do arguments+=("$name=${port_of[$name]}"); done
PYTHONDONTWRITEBYTECODE=1 timeout --kill-after=10 300 python3 "$here/clients.py" "$gateway_admin" \
    "${port_of[behind]}" "${arguments[@]}" || failed=1
# What HAProxy says besides: its id begins with the client's address.
if ! grep -q ' opened .* proxied_id="7F00004D:' "$gateway_log"; then
    echo 'the log does not say what HAProxy calls the connection' >&2
    failed=1
fi
if ((failed)); then
    tail -n 20 "$folder"/*.log >&2
    gateway_show_log
fi
gateway_stop || failed=1
((failed == 0))
