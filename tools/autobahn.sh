#!/usr/bin/env bash
# Runs the Autobahn test suite's fuzzing client against a WebSocket echo server. See --help.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tools/gateway.sh
source "$here/gateway.sh"
# shellcheck source=tests/tls/authority.sh
source "$here/../tests/tls/authority.sh"

suite_version=25.10.1
cache=${XDG_CACHE_HOME:-$HOME/.cache}/tidegate/autobahn-$suite_version

usage() {
    cat <<EOF
usage: tools/autobahn.sh [--cases all|ci|fast] [--tls | --url ws://HOST:PORT/PATH] [--keep DIR]
                         [--timeout SECONDS]

Runs the Autobahn WebSocket suite (autobahntestsuite $suite_version) and passes only if every case
is there and is OK or INFORMATIONAL, in its behavior and in its closing behavior.

  --cases SET        all   517 cases (the default), about 11 minutes on two cores
                     ci    373 cases: families 1 to 10, and the first six cases of each
                           compression group
                     fast  301 cases: families 1 to 10
  --url URL          a server that runs already; by default the gateway is started, with an echo
                     route that takes 64 MiB messages, on a free port of 127.0.0.1, and ended again
  --tls              over wss: the gateway shows a certificate that is made for this by openssl; the
                     suite believes whoever answers
  --keep DIR         keep the suite's reports in DIR, a folder that does not exist or is empty;
                     DIR/1/reports/index.html is the first to open
  --timeout SECONDS  end the suite after this time (default: 2400 for all, 600 for ci, 300 for fast)

The suite needs Python 2.7, which is looked for as \$PYTHON2, as python2.7 and under pyenv. It is
installed once, into $cache.

TIDEGATE_BIN names another gateway binary than target/release/tidegate.

exit codes: 0 every case passed, 1 some did not, 2 the suite could not be set up or started
EOF
}

say() { printf 'autobahn: %s\n' "$*" >&2; }
give_up() {
    say "$@"
    exit 2
}

case_set=all
tls=
url=
keep=
timeout=
while (($#)); do
    case $1 in
        --help) usage; exit 0 ;;
        --tls) tls=1; shift ;;
        --cases | --url | --keep | --timeout)
            (($# >= 2)) || give_up "$1 needs a value; see --help"
            case $1 in
                --cases) case_set=$2 ;;
                --url) url=$2 ;;
                --keep) keep=$2 ;;
                --timeout) timeout=$2 ;;
            esac
            shift 2
            ;;
        *) give_up "unknown argument '$1'; see --help" ;;
    esac
done
case $case_set in
    all) timeout=${timeout:-2400} ;;
    ci) timeout=${timeout:-600} ;;
    fast) timeout=${timeout:-300} ;;
    *) give_up "--cases takes all, ci or fast, not '$case_set'" ;;
esac
[[ -z $tls || -z $url ]] || give_up "--url says whether it is over TLS: wss://HOST:PORT/PATH"
[[ $timeout =~ ^[1-9][0-9]*$ ]] || give_up "--timeout takes whole seconds, not '$timeout'"

find_python2() {
    local candidate pyenv=${PYENV_ROOT:-$HOME/.pyenv}
    for candidate in ${PYTHON2:-} python2.7 "$pyenv"/versions/2.7.*/bin/python2.7; do
        # Asked rather than looked for: a pyenv shim is there for versions that are not chosen, too.
        "$candidate" -c 'import sys; print(sys.executable)' 2>/dev/null && return 0
    done
    return 1
}

install_suite() {
    local python2 log=$cache/install.log
    command -v python3 >/dev/null ||
        give_up "python3 is missing (Debian: apt-get install python3 python3-venv)"
    python2=$(find_python2) ||
        give_up "Python 2.7 is missing and the suite runs on nothing newer. With pyenv:" \
            "'pyenv install 2.7.18'; or name one that you built: PYTHON2=/path/to/python2.7"
    say "installing autobahntestsuite $suite_version into $cache"
    rm -rf "$cache"
    mkdir -p "$cache"
    python3 -m venv "$cache/tools" >"$log" 2>&1 ||
        give_up "'python3 -m venv' failed (Debian: apt-get install python3-venv); see $log"
    # Releases from 20.22 on no longer make environments for Python 2.7.
    { "$cache/tools/bin/pip" install 'virtualenv<20.22' &&
        "$cache/tools/bin/virtualenv" -p "$python2" "$cache/suite" &&
        "$cache/suite/bin/pip" install "autobahntestsuite==$suite_version"; } >>"$log" 2>&1 || {
        tail -n 15 "$log" >&2
        give_up "the installation failed; all of it is in $log"
    }
    touch "$cache/complete"
}

# Sets url to the echo of a gateway, which is at a port of its own without TLS as well: there it is
# asked whether it is up.
start_over_tls() {
    local folder=$scratch/certificates
    mkdir "$folder"
    authority_make "$folder" && gateway_choose_ports tls || return 1
    cat >>"$scratch/tidegate.toml" <<TOML
[[listener]]
address = "127.0.0.1:${port_of[tls]}"
stack = "ws!tls?cert=$folder/gateway.pem&key=$folder/gateway.key!tcp"

[[listener]]
address = "127.0.0.1:$gateway_port"
stack = "ws!tcp"
TOML
    url=wss://127.0.0.1:${port_of[tls]}/echo
    gateway_start_configured --config "$scratch/tidegate.toml"
}

start_plain() {
    gateway_start --config "$scratch/tidegate.toml" || return 1
    url=ws://127.0.0.1:$gateway_port/echo
}

cases_begun() { cat "$work"/*/wstest.log 2>/dev/null | grep -c '^Running test case' || true; }

# One wstest for each share of the cases. Reports are written when a share is through, so one that
# is ended early leaves none, and all its cases count as missing.
run_suite() {
    local run pid code running
    for run in "$work"/[0-9]*; do
        PYTHONUNBUFFERED=1 timeout --kill-after=10 "$timeout" \
            "$cache/suite/bin/wstest" -m fuzzingclient -s "$run/spec.json" \
            >"$run/wstest.log" 2>&1 </dev/null &
        pids+=($!)
    done
    while sleep 1; do
        running=0
        for pid in "${pids[@]}"; do
            if kill -0 "$pid" 2>/dev/null; then running=$((running + 1)); fi
        done
        ((running)) || break
        if ((SECONDS - began >= 10 * (told + 1))); then
            told=$(((SECONDS - began) / 10))
            say "$((SECONDS - began)) s: $(cases_begun) of $total cases begun, $running at work"
        fi
    done
    for pid in "${pids[@]}"; do
        code=0
        wait "$pid" || code=$?
        if ((code == 124 || code == 137)); then
            say "a process of the suite was ended after $timeout s; its cases count as missing"
        elif ((code != 0)); then
            say "a process of the suite ended with exit code $code"
        fi
    done
    pids=()
}

clean_up() {
    local pid
    for pid in "${pids[@]}"; do
        kill -TERM "$pid" 2>/dev/null || true
    done
    gateway_abandon
    rm -rf "$scratch"
}
pids=()
scratch=$(mktemp -d)
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if [[ -n $keep ]]; then
    mkdir -p "$keep"
    [[ -z $(ls -A "$keep") ]] ||
        give_up "$keep is not empty: reports of another run must not be counted"
    work=$(cd "$keep" && pwd)
else
    work=$scratch/work
    mkdir "$work"
fi

[[ -e $cache/complete ]] || install_suite
if [[ -z $url ]]; then
    gateway_echo_config "$scratch/tidegate.toml"
    if [[ -n $tls ]]; then start_over_tls; else start_plain; fi || exit 2
fi

total=$("$cache/suite/bin/python" -c '
from autobahntestsuite.case import Cases, CaseBasename
for case in Cases:
    print(".".join(case.__name__[len(CaseBasename):].split("_")))
' | python3 "$here/autobahn_report.py" plan "$work" "$case_set" "$url") || exit 2

say "$total cases against $url"
began=$SECONDS
told=0
run_suite
say "done after $((SECONDS - began)) s"

failed=0
if [[ -n $gateway_pid ]]; then
    gateway_stop || failed=1
fi
python3 "$here/autobahn_report.py" judge "$work" || failed=1
((failed == 0))
