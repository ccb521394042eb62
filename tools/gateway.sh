# shellcheck shell=bash
# Sourced, not run: starts one gateway on a free port for a script and ends it again.
#
#   gateway_start [ARGUMENT...]  starts the binary with the arguments, `--listen 127.0.0.1:PORT`
#                                and `--admin 127.0.0.1:0`, waits until it answers HTTP; sets
#                                gateway_port, gateway_admin (127.0.0.1:PORT) and gateway_pid
#   gateway_start_configured [ARGUMENT...]  the same with the listeners of a configuration, of which one
#                                is plain HTTP on 127.0.0.1:$gateway_port, set before
#   gateway_free_port            prints a port that nobody listens on
#   gateway_choose_ports NAME... sets gateway_port, and port_of[NAME] for each, to free ports, each
#                                another one
#   gateway_stop                 SIGTERM; fails unless the process ends in time with exit code 0
#   gateway_abandon              for an EXIT trap: ends a gateway still there, removes its log
#   gateway_echo_config FILE     writes the configuration that the third-party suites run against
#
# TIDEGATE_BIN names another binary than the release build, TIDEGATE_TEST_DRIVER by what it asks the
# kernel.

gateway_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
gateway_binary=${TIDEGATE_BIN:-${CARGO_TARGET_DIR:-$gateway_root/target}/release/tidegate}
gateway_driver=${TIDEGATE_TEST_DRIVER:-auto}
gateway_start_seconds=20
gateway_stop_seconds=30
gateway_port=
gateway_admin=
gateway_pid=
gateway_log=
declare -A port_of=()

gateway_say() { printf 'gateway: %s\n' "$*" >&2; }

gateway_echo_config() {
    cat >"$1" <<'TOML'
[[route]]
path = "/echo"
handler = "echo"
max_message = "64MiB"
TOML
}

# A port is free if nobody answers on it. Ports from 20000 to 29999
# lie below the range from which the kernel gives out local ports for outgoing connections.
gateway_free_port() {
    local port
    for _ in {1..50}; do
        port=$((20000 + RANDOM % 10000))
        if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            echo "$port"
            return 0
        fi
    done
    gateway_say "found no free port from 20000 to 29999 on 127.0.0.1 in 50 tries"
    return 1
}

gateway_choose_ports() {
    local name port taken
    gateway_port=$(gateway_free_port) || return 1
    taken=" $gateway_port "
    for name in "$@"; do
        for _ in {1..50}; do
            port=$(gateway_free_port) || return 1
            [[ $taken == *" $port "* ]] || break
        done
        taken+="$port "
        # shellcheck disable=SC2034 # For the script that sources this.
        port_of[$name]=$port
    done
}

# Any HTTP status will do: a configuration need not have a route for "/".
gateway_answers() (
    exec 3<>"/dev/tcp/127.0.0.1/$gateway_port" || exit 1
    printf 'GET / HTTP/1.1\r\nHost: 127.0.0.1:%s\r\nConnection: close\r\n\r\n' "$gateway_port" >&3
    IFS= read -r -t 2 status <&3 && [[ $status == HTTP/1.1\ * ]]
) 2>/dev/null

gateway_show_log() {
    gateway_say "the last lines it wrote:"
    tail -n 30 "$gateway_log" >&2
}

gateway_start() {
    gateway_port=$(gateway_free_port) || return 1
    gateway_start_configured "$@" --listen "127.0.0.1:$gateway_port"
}

gateway_start_configured() {
    if [[ ! -x $gateway_binary ]]; then
        gateway_say "$gateway_binary is not there; build it with: cargo build --release"
        return 1
    fi
    gateway_log=$(mktemp) || return 1
    "$gateway_binary" "$@" --admin 127.0.0.1:0 --driver "$gateway_driver" >"$gateway_log" 2>&1 </dev/null &
    gateway_pid=$!
    local deadline=$((SECONDS + gateway_start_seconds))
    until gateway_answers; do
        if ! kill -0 "$gateway_pid" 2>/dev/null; then
            gateway_say "it ended while starting: $gateway_binary $*"
            gateway_show_log
            gateway_pid=
            return 1
        fi
        if ((SECONDS >= deadline)); then
            gateway_say "no HTTP answer on 127.0.0.1:$gateway_port within $gateway_start_seconds s"
            gateway_show_log
            gateway_abandon
            return 1
        fi
        sleep 0.1
    done
    # shellcheck disable=SC2034 # For the script that sources this.
    gateway_admin=$(sed -n 's/^admin on //p' "$gateway_log" | head -n 1)
}

gateway_stop() {
    local pid=$gateway_pid code=0 early=0 deadline=$((SECONDS + gateway_stop_seconds))
    gateway_pid=
    kill -TERM "$pid" 2>/dev/null || early=1
    while kill -0 "$pid" 2>/dev/null; do
        if ((SECONDS >= deadline)); then
            gateway_say "process $pid did not end within $gateway_stop_seconds s of SIGTERM; killed"
            kill -KILL "$pid"
            break
        fi
        sleep 0.1
    done
    wait "$pid" || code=$?
    if ((early)); then
        gateway_say "it ended before it was told to, with exit code $code"
    elif ((code != 0)); then
        gateway_say "exit code $code after SIGTERM, expected 0"
    else
        return 0
    fi
    gateway_show_log
    return 1
}

gateway_abandon() {
    if [[ -n $gateway_pid ]]; then
        kill -KILL "$gateway_pid" 2>/dev/null || true
        wait "$gateway_pid" 2>/dev/null || true
        gateway_pid=
    fi
    if [[ -n $gateway_log ]]; then
        rm -f "$gateway_log"
    fi
}
