#!/bin/sh
# The first program of a guest that tools/kernels.sh starts, and no use anywhere else: runs the
# kernel rules and the gateway, tells of it on the second serial port, and turns the guest off.
#
#   kernel RELEASE       which one runs
#   run NAME CODE        a test binary has ended; what it said stands before
#   driver NAME          what the gateway's shards ask the kernel by
#   smoke ok COUNT       messages that were echoed; or
#   smoke failed REASON
#   end                  nothing is missing
#
# From the kernel's command line come TIDEGATE_ONLY_SAY, which leaves it at the first of these, and
# TIDEGATE_SKIP, tests of `kernel` to leave out.

PATH=/bin
export PATH
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
exec >/dev/ttyS1 2>&1 </dev/null

turn_off() {
    # What was written last has to get through the port.
    sleep 1
    poweroff -f
}

run_rules() {
    name=$1
    shift
    # Two at a time: an emulated core is slow, and tests wait for one another's peers.
    "$name" --test-threads=2 "$@"
    echo "run $name $?"
}

# Yields why it is no good, on standard output; nothing if it is.
smoke() {
    tries=0
    until wget -q -O /tmp/ready http://127.0.0.1:8081/readyz 2>/dev/null; do
        # A process that has ended and was not waited for has no program any more.
        [ -e "/proc/$gateway/exe" ] || { echo "it ended while starting"; return; }
        tries=$((tries + 1))
        [ "$tries" -lt 150 ] || { echo "not ready after $tries tries"; return; }
        sleep 0.2
    done
    grep -q '"ready"' /tmp/ready || { echo "readyz: $(cat /tmp/ready)"; return; }
    wget -q -O /tmp/health http://127.0.0.1:8081/healthz
    grep -q '"ok"' /tmp/health || { echo "healthz: $(cat /tmp/health)"; return; }
    tidegate-bench echo --url ws://127.0.0.1:8080/echo --connections 50 --seconds 1 \
        --warm-up 0.2 --json >/tmp/echo 2>/tmp/echo.log ||
        { echo "no echo: $(tail -n 1 /tmp/echo.log)"; return; }
    grep -q '"messages": [1-9]' /tmp/echo || echo "no message was echoed"
}

# A driver that is asked for by name is never replaced by another.
refuses_a_ring() {
    tidegate --driver io_uring --check=machine >/tmp/forced 2>&1
    code=$?
    cat /tmp/forced
    [ "$code" -eq 1 ] && grep -q 'or later is needed' /tmp/forced
}

run_gateway() {
    tidegate >/tmp/out 2>/tmp/log &
    gateway=$!
    wrong=$(smoke)
    kill -TERM "$gateway"
    wait "$gateway"
    code=$?
    cat /tmp/out /tmp/log
    driver=$(sed -n 's/.* shards ask the kernel by \([a-z_]*\).*/\1/p' /tmp/log | head -n 1)
    echo "driver ${driver:-unsaid}"
    [ -n "$wrong" ] || [ "$code" -eq 0 ] || wrong="exit code $code after SIGTERM"
    [ -n "$wrong" ] || ! grep -q ' ERROR \|panicked' /tmp/log || wrong="there are errors in its log"
    [ -n "$wrong" ] || [ "$driver" != epoll ] || refuses_a_ring ||
        wrong="--driver io_uring is not refused with a reason"
    if [ -n "$wrong" ]; then
        echo "smoke failed $wrong"
    else
        echo "smoke ok $(sed -n 's/^ *"messages": \([0-9]*\).*/\1/p' /tmp/echo)"
    fi
}

echo "kernel $(uname -r)"
[ -z "$TIDEGATE_ONLY_SAY" ] || turn_off
ip link set lo up
# For all the connections that two shards have by default, by epoll as well.
# shellcheck disable=SC3045 # BusyBox has it.
ulimit -n 65536
if [ -n "$TIDEGATE_SKIP" ]; then
    run_rules kernel --skip "$TIDEGATE_SKIP"
else
    run_rules kernel
fi
run_rules kernel_before_6_10
run_rules kernel_by_epoll
run_gateway
echo end
turn_off
