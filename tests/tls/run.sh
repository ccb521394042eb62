#!/usr/bin/env bash
# Runs clients and scanners that others wrote against the gateway's TLS, and unkind ones. See --help.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tools/gateway.sh
source "$here/../../tools/gateway.sh"
# shellcheck source=tests/tls/authority.sh
source "$here/authority.sh"
# shellcheck source=tests/clients/install.sh
source "$here/../clients/install.sh"

all=(openssl curl websockets ws chromium unkind scanners)
usage() {
    cat <<EOF
usage: tests/tls/run.sh [--keep FOLDER] [TRIAL ...]

Makes an authority and certificates in a folder of their own, starts target/release/tidegate with
listeners of TLS on free ports of 127.0.0.1, and runs each trial, or those that are named:

  openssl     openssl s_client: versions, suites, names, client certificates, key updates, sessions
  curl        https to the page, and to what is not there
  websockets  the checks of tests/clients with Python's websockets, over wss
  ws          the same with npm's ws
  chromium    the page and an echo in a browser; left out without one, or without tests/browser's packages
  unkind      what is no TLS, floods and broken records, while somebody else's echo is to be answered
  scanners    sslyze, and testssl.sh if it is there (five minutes)

Needs openssl 3, curl, Python 3.11 with venv and Node.js 20 with npm, and for chromium certutil
(Debian: libnss3-tools). The packages are installed once, at the versions pinned beside this script,
into ${XDG_CACHE_HOME:-$HOME/.cache}/tidegate.

  --keep FOLDER   certificates, configuration and reports go there and stay
  TIDEGATE_BIN    another gateway binary

exit codes: 0 every check passed, 1 some did not, 2 the clients or the gateway could not be set up
EOF
}

say() { printf 'tls: %s\n' "$*" >&2; }
give_up() {
    say "$@"
    exit 2
}

keep=
trials=()
while (($#)); do
    case $1 in
        --help) usage; exit 0 ;;
        --keep) keep=${2:?--keep needs a value}; shift 2 ;;
        *)
            [[ " ${all[*]} " == *" $1 "* ]] || give_up "unknown argument '$1'; see --help"
            trials+=("$1")
            shift
            ;;
    esac
done
((${#trials[@]})) || trials=("${all[@]}")

for program in openssl curl npm python3; do
    command -v "$program" >/dev/null || give_up "$program is missing"
done

clients_install tls "$here/requirements.txt" "$here"

if [[ -n $keep ]]; then
    mkdir -p "$keep"
    folder=$(cd "$keep" && pwd)
    trap gateway_abandon EXIT
else
    folder=$(mktemp -d)
    trap 'gateway_abandon; rm -rf "$folder"' EXIT
fi
# The options of a layer have file names within them.
[[ $folder != *[\&\!%]* ]] || give_up "the name of $folder has one of & ! %"
authority_make "$folder" || exit 2

# What each listener's TLS is told, by the name that the trials call it.
declare -A options=(
    [modern]=''
    [compatible]='?min=1.2'
    [required]="?client_ca=$folder/ca.pem"
    [optional]="?client_ca=$folder/ca.pem&client_cert=optional"
    [impatient]='?handshake=1s'
)

write_config() {
    local name
    cat <<TOML
[[certificate]]
cert = "$folder/gateway.pem"
key = "$folder/gateway.key"

[[certificate]]
cert = "$folder/other.pem"
key = "$folder/other.key"
names = ["other.test"]

[[route]]
path = "/"
handler = "static"

[[route]]
path = "/echo"
handler = "echo"
max_message = "64MiB"

[[listener]]
address = "127.0.0.1:$gateway_port"
stack = "ws!tcp"
TOML
    for name in "${!options[@]}"; do
        printf '\n[[listener]]\naddress = "127.0.0.1:%s"\nstack = "ws!tls%s!tcp"\n' \
            "${port_of[$name]}" "${options[$name]}"
    done
}

gateway_choose_ports "${!options[@]}" || exit 2
ports=()
for name in "${!options[@]}"; do ports+=("$name=${port_of[$name]}"); done
write_config >"$folder/tidegate.toml"
gateway_start_configured --config "$folder/tidegate.toml" || exit 2

failed=0
python=$clients_cache/python/bin/python
bounded=(timeout --kill-after=10 900)
modern=localhost:${port_of[modern]}

in_python() {
    local script=$1
    shift
    PYTHONDONTWRITEBYTECODE=1 "${bounded[@]}" "$python" "$here/$script" "$@" || failed=1
}

# Says the status of a request, or how curl has failed.
curl_status() {
    local code=0 status
    status=$(curl --silent --max-time 20 --cacert "$folder/ca.pem" --output "$folder/curl.out" \
        --write-out '%{http_code} HTTP/%{http_version}' "$@") || code=$?
    if ((code)); then echo "failed with $code"; else echo "$status"; fi
}

curl_expect() {
    local what=$1 wanted=$2 got
    shift 2
    got=$(curl_status "$@")
    if [[ $got == "$wanted" ]]; then
        curl_passed=$((curl_passed + 1))
    else
        curl_failed=$((curl_failed + 1))
        echo "FAILED $what: $got, expected $wanted"
    fi
}

try_curl() {
    local name=a.gateway.test:${port_of[modern]} foreign=b.test:${port_of[modern]}
    curl_passed=0
    curl_failed=0
    curl_expect 'the page' '200 HTTP/1.1' "https://$modern/"
    curl_expect 'by address' '200 HTTP/1.1' "https://127.0.0.1:${port_of[modern]}/"
    curl_expect 'by another name' '200 HTTP/1.1' --resolve "$name:127.0.0.1" "https://$name/"
    curl_expect 'what is not there' '404 HTTP/1.1' "https://$modern/nowhere"
    curl_expect 'WebSocket without upgrade' '426 HTTP/1.1' "https://$modern/echo"
    curl_expect 'HTTP/2 is not agreed on' '200 HTTP/1.1' --http2 "https://$modern/"
    # 35: the handshake failed. 60: the certificate is of nobody who is trusted, or of another name.
    curl_expect '1.2 where it is off' 'failed with 35' --tls-max 1.2 "https://$modern/"
    curl_expect '1.2 where it is on' '200 HTTP/1.1' --tls-max 1.2 \
        "https://localhost:${port_of[compatible]}/"
    curl_expect 'a name of others' 'failed with 60' --resolve "$foreign:127.0.0.1" "https://$foreign/"
    curl_expect 'an authority that is not trusted' 'failed with 60' \
        --cacert "$folder/stranger.pem" "https://$modern/"
    curl_expect 'a client certificate' '200 HTTP/1.1' --cert "$folder/client.pem" \
        --key "$folder/client.key" "https://localhost:${port_of[required]}/"
    curl_expect 'http to https' '400 HTTP/1.1' "http://$modern/"
    local told
    told="$(curl --version | head -n 1 | cut -d' ' -f1,2): $curl_passed checks passed"
    ((curl_failed == 0)) || told+=", $curl_failed failed"
    echo "$told"
    ((curl_failed == 0)) || failed=1
}

try_chromium() {
    local program trust home
    for program in "${CHROMIUM:-/usr/bin/chromium}" certutil; do
        command -v "$program" >/dev/null || {
            say "left out: $program is missing (Debian: apt-get install chromium libnss3-tools)"
            return
        }
    done
    [[ -d $here/../browser/node_modules ]] || {
        say "left out: tests/browser/run.sh has not installed yet what drives the browser"
        return
    }
    for trust in unknown trusted; do
        home=$folder/home-$trust
        mkdir -p "$home/.pki/nssdb"
        certutil -d "sql:$home/.pki/nssdb" -N --empty-password
        [[ $trust == unknown ]] ||
            certutil -d "sql:$home/.pki/nssdb" -A -t C,, -n trial -i "$folder/ca.pem"
        env -u XDG_DATA_HOME -u XDG_CONFIG_HOME HOME="$home" "${bounded[@]}" \
            node "$here/chromium.mjs" "https://$modern/" "$trust" || failed=1
    done
}

for trial in "${trials[@]}"; do
    case $trial in
        openssl | unkind | scanners) in_python "$trial.py" "$folder" "${ports[@]}" ;;
        curl) try_curl ;;
        chromium) try_chromium ;;
        websockets)
            SSL_CERT_FILE=$folder/ca.pem in_python ../clients/python_websockets.py \
                "wss://$modern/echo"
            ;;
        ws)
            NODE_PATH=$clients_cache/node_modules NODE_EXTRA_CA_CERTS=$folder/ca.pem \
                "${bounded[@]}" node "$here/../clients/node_ws/echo.cjs" "wss://$modern/echo" ||
                failed=1
            ;;
    esac
done
gateway_stop || failed=1
((failed == 0))
