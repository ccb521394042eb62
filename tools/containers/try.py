#!/usr/bin/env python3
"""Runs the commands of Containerfile as an engine of containers would; `try.sh` starts it.

What an engine does is done by unshare(1), mount(8), chroot(1) and setpriv(1): namespaces for processes, mounts, host
name and IPC, a root that cannot be written, the user of the recipe, no capability, and last a seccomp filter. There
is no namespace of users, as engines that run as root make none unless they are told to. The network's namespace is
the one that this program runs in.
"""

import base64
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RECIPE = Path("tools/containers/Containerfile")
PROFILE = Path("tools/containers/seccomp.json")

# Starts that are measured, and the longest that one may take, from the fork of the engine to the first echo.
STARTS = 20
START_MS_MAX = 300

# How long anything else may take, in seconds.
PATIENCE = 20

# A folder that containers share, and the socket that one of them has there.
SHARED = "/run/tidegate"
SOCKET = f"{SHARED}/x.sock"

# What is done before the entry point is run: `$1` is the root, `$2` the engine's own folder, `$3` one that containers
# share, `$4` where, the rest the command. The engine's is there as /mnt, because an engine sets its filter behind the
# change of roots.
SET_UP = """
set -e
root=$1 engine=$2 shared=$3 at=$4; shift 4
mount --bind "$root" "$root"
mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
mount --rbind /sys "$root/sys"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero random urandom; do
    : >"$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mount --bind "$shared" "$root$at"
mount --bind "$engine" "$root/mnt"
mount -o remount,bind,ro "$root/mnt"
mount -o remount,bind,ro "$root"
exec chroot "$root" "$@"
"""


class Failed(Exception):
    """Something is not as the recipe says."""


def check(holds, what):
    if not holds:
        raise Failed(what)


def instructions():
    """The instructions of the final stage, each with the rest of its line."""
    text = RECIPE.read_text().replace("\\\n", " ")
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]
    last = max(at for at, (word, *_) in enumerate(lines) if word == "FROM")
    return [(word, rest) for word, rest in lines[last + 1 :]]


class Recipe:
    """What of the final stage an engine goes by. What it does not know it refuses, so that nothing is passed over."""

    def __init__(self):
        self.copies, self.health = [], None
        for word, rest in instructions():
            if word == "COPY":
                source, to = re.fullmatch(r"--from=build /tree/(\S+) (\S+)", rest).groups()
                self.copies.append((source, to))
            elif word == "USER":
                self.user, self.group = rest.split(":")
            elif word == "STOPSIGNAL":
                self.stop = signal.Signals[rest]
            elif word == "HEALTHCHECK":
                options, command = rest.split("CMD", 1)
                self.health = json.loads(command)
                self.health_begins = int(re.search(r"--start-period=(\d+)s", options).group(1))
            elif word == "ENTRYPOINT":
                self.entry = json.loads(rest)
            elif word == "CMD":
                self.arguments = json.loads(rest)
            elif word == "EXPOSE":
                self.port = int(rest)
            else:
                raise Failed(f"{RECIPE}: {word} is not known here: teach {__file__} what an engine makes of it")

    def command(self):
        return self.entry + self.arguments

    def as_user(self):
        """What a process is run by so that it has the recipe's user, and no way to more."""
        ids = ["--reuid", self.user, "--regid", self.group, "--clear-groups"]
        return ["setpriv", *ids, "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]


def lay_out(recipe, base, target, root):
    """A root as the recipe makes it: the Debian it is from, and what it copies."""
    subprocess.run(["cp", "-a", "--reflink=auto", f"{base}/.", root], check=True)
    for source, to in recipe.copies:
        # What a stage before this one has built is what is built here.
        built = re.sub(r"^target/release", str(target), source)
        place = Path(f"{root}{to}")
        place.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "--preserve=mode", built, place], check=True)
    Path(f"{root}{SHARED}").mkdir()


class Container:
    """The recipe's command, run with `more` arguments behind it under `filter`, and if need be under strace. `arguments`
    are there in place of the recipe's."""

    def __init__(self, recipe, folder, filter, more=(), trace=None, arguments=None):
        self.recipe = recipe
        command = recipe.command() if arguments is None else recipe.entry + arguments
        launch = recipe.as_user() + ["/mnt/under-seccomp", *filter, *command, *more]
        strace = ["strace", "-ff", "-o", trace, "-e", "trace=/^io_uring_"] if trace else []
        unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--uts", "--ipc", "--"]
        set_up = ["bash", "-c", SET_UP, "bash", f"{folder}/root", f"{folder}/engine", f"{folder}/shared", SHARED]
        self.log = tempfile.TemporaryFile()
        self.begun = time.monotonic()
        environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        self.child = subprocess.Popen(
            strace + unshare + set_up + launch,
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, env=environment,
        )
        self.depth = 2 if trace else 1

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.child.poll() is None:
            try:
                os.kill(self.process(), signal.SIGKILL)
            except (OSError, IndexError):
                self.child.kill()
            self.child.wait(PATIENCE)
        self.log.close()

    def said(self):
        self.log.seek(0)
        return self.log.read().decode()

    def process(self):
        """The gateway's id outside: it is the first process inside."""
        process = self.child.pid
        for _ in range(self.depth):
            process = int(Path(f"/proc/{process}/task/{process}/children").read_text().split()[0])
        return process

    def connect(self, address=None):
        """The first WebSocket that opens, at the recipe's port by default."""
        return once_up(self.child, lambda: WebSocket(address or self.recipe.port, "/echo"), self.said)

    def health(self):
        """Runs the recipe's check inside, as the same user; failures do not count before it has begun."""
        enter = ["nsenter", "--target", str(self.process()), "--mount", "--pid", "--uts", "--ipc", "--root", "--wd"]
        command = enter + self.recipe.as_user() + self.recipe.health
        while True:
            result = subprocess.run(command, timeout=PATIENCE, capture_output=True, text=True)
            if result.returncode == 0 or time.monotonic() - self.begun > self.recipe.health_begins:
                return result
            time.sleep(0.05)

    def stop(self):
        """Drains by the recipe's signal; returns the exit code."""
        os.kill(self.process(), self.recipe.stop)
        return self.child.wait(PATIENCE)


def once_up(child, ask, said):
    """What is asked of a gateway, as often as it takes: nobody says when it listens."""
    begun = time.monotonic()
    while True:
        try:
            return ask()
        except OSError as error:
            check(child.poll() is None, f"it has ended:\n{said()}")
            check(time.monotonic() - begun < PATIENCE, f"it does not answer: {error}\n{said()}")
            time.sleep(0.001)


class WebSocket:
    """A client with what is needed here: one short text, and how it ends."""

    def __init__(self, address, path):
        """Opens it at a port, or at the path of a Unix socket."""
        if isinstance(address, int):
            self.socket = socket.create_connection(("127.0.0.1", address), timeout=PATIENCE)
        else:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(PATIENCE)
            self.socket.connect(address)
        key = base64.b64encode(os.urandom(16)).decode()
        head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        self.socket.sendall(f"{head}Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            byte = self.socket.recv(1)
            if not byte:
                raise ConnectionError("closed within the answer")
            answer += byte
        check(answer.startswith(b"HTTP/1.1 101 "), f"not opened: {answer!r}")

    def echo(self, text):
        mask, payload = os.urandom(4), text.encode()
        masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
        self.socket.sendall(bytes([0x81, 0x80 | len(payload)]) + mask + masked)
        check(self.frame() == (0x81, payload), f"{text!r} does not come back")

    def frame(self):
        first, length = self.exactly(2)
        return first, self.exactly(length)

    def exactly(self, count):
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            check(more, "the connection ends within a frame")
            data += more
        return data


def page(port, path="/"):
    """The status of a page."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as peer:
        peer.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        return peer.makefile("rb").readline().split()[1].decode()


def expect_life(container, driver):
    """It echoes, is as bare as it should be, is healthy, and drains when it is told to stop."""
    peer = container.connect()
    peer.echo("within")
    said = container.said()
    check(f"shards ask the kernel by {driver}" in said, f"not by {driver}:\n{said}")
    status = Path(f"/proc/{container.process()}/status").read_text()
    for line in [f"Uid:\t{container.recipe.user}\t", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NSpid:"]:
        check(line in status, f"{line!r} is not in its status:\n{status}")
    check(re.search(r"^NSpid:.*\t1$", status, re.M), "it is not the first process of its namespace")
    mounts = Path(f"/proc/{container.process()}/mountinfo").read_text()
    check(re.search(r"^\S+ \S+ \S+ \S+ / ro,", mounts, re.M), f"its root can be written:\n{mounts}")
    health = container.health()
    check(health.returncode == 0, f"HEALTHCHECK ends with {health.returncode}: {health.stderr}")
    code = container.stop()
    check(peer.frame()[0] == 0x88, "the drain sent no Close frame")
    check(code == 0, f"the drain ended with {code}:\n{container.said()}")


def expect_socket(start, shared):
    """Of containers that share a folder one has a socket there, and the next when that one is gone."""
    path = f"{shared}/{Path(SOCKET).name}"
    # They have one network here. Each gateway is process 1 of its namespace.
    arguments = ["--config", "/etc/tidegate/tidegate.toml", "--listen", f"unix:{SOCKET}", "--admin", "off"]
    with start(arguments=arguments) as first:
        peer = first.connect(path)
        with start(arguments=arguments) as second:
            code = second.child.wait(PATIENCE)
            check(code == 1 and f"unix:{SOCKET} is in use" in second.said(), f"a second one: {code}\n{second.said()}")
        peer.echo("of the first")
        os.kill(first.process(), signal.SIGKILL)
        first.child.wait(PATIENCE)
    left = sorted(os.listdir(shared))
    check(left == ["x.sock", "x.sock.lock"], f"a crash leaves {left}")
    with start(arguments=arguments) as third:
        third.connect(path).echo("of the next")
        check(third.stop() == 0, f"the drain fails:\n{third.said()}")
    check(os.listdir(shared) == [], f"a drain leaves {os.listdir(shared)}")


def measure_starts(start):
    times = []
    for _ in range(STARTS):
        with start() as container:
            container.connect().echo("first")
            times.append((time.monotonic() - container.begun) * 1000)
            check(container.stop() == 0, f"a drain without connections fails:\n{container.said()}")
    median, worst = statistics.median(times), max(times)
    print(f"{STARTS} starts to the first echo: median {median:.0f} ms, worst {worst:.0f} ms, bound {START_MS_MAX} ms")
    check(worst < START_MS_MAX, f"a start took {worst:.0f} ms")


def expect_calls(start, folder, more, most):
    """Of io_uring's calls there are so many at most, each a refused set-up: that is how `auto` finds out."""
    # A file for each thread, so that no call is cut in two by another's.
    trace = f"{folder}/trace-{len(more)}"
    with start(more=more, trace=trace) as container:
        container.connect().echo("traced")
        # The control thread is there last.
        status = once_up(container.child, lambda: page(8081, "/metrics"), container.said)
        check(status == "200", f"/metrics answers {status}")
        check(container.stop() == 0, f"the drain fails under strace:\n{container.said()}")
    files = list(Path(folder).glob(f"{Path(trace).name}.*"))
    check(files, "strace wrote nothing")
    lines = [line for file in files for line in file.read_text().splitlines() if "io_uring_" in line]
    print(f"calls of io_uring with {' '.join(more) or 'the command as it is'}: {len(lines)}")
    for line in lines:
        check(re.search(r"io_uring_setup\(.*= -1 EPERM", line), f"more than a refused set-up: {line}")
    check(len(lines) <= most, f"more than {most}:\n" + "\n".join(lines))


def expect_readme(target):
    """The README's first command, as it is run once it is built, serves what is said beside it."""
    block = Path("README.md").read_text().split("```sh\n", 1)[1].split("```", 1)[0]
    command = block.splitlines()[0].split("#")[0].split()
    check(command == ["cargo", "run", "--release"], f"README.md begins with {command}: teach {__file__} what it runs")
    ports = re.findall(r"http://127\.0\.0\.1:(\d+)/", block)
    check(len(ports) == 2, f"README.md names the ports {ports} beside it")
    launch = [f"{target}/under-seccomp", "--refuse-io-uring", f"{target}/tidegate"]
    with tempfile.TemporaryFile() as log:
        child = subprocess.Popen(launch, stdout=log, stderr=log)
        try:
            for port in map(int, ports):
                status = once_up(child, lambda: page(port), lambda: f"port {port}")
                check(status == "200", f"port {port} answers {status}")
            WebSocket(int(ports[0]), "/echo").echo("as the README says")
            child.send_signal(signal.SIGTERM)
            check(child.wait(PATIENCE) == 0, "the drain fails")
        finally:
            if child.poll() is None:
                child.kill()
                child.wait(PATIENCE)


def run(base, target):
    recipe = Recipe()
    refused = ["--refuse-io-uring"]
    with tempfile.TemporaryDirectory(prefix="tidegate-container-") as folder:
        root, engine, shared = Path(folder, "root"), Path(folder, "engine"), Path(folder, "shared")
        # Anybody may go through, as in an engine's own folders.
        os.chmod(folder, 0o755)
        root.mkdir()
        engine.mkdir()
        shared.mkdir()
        os.chown(shared, int(recipe.user), int(recipe.group))
        lay_out(recipe, base, target, root)
        for file in [f"{target}/under-seccomp", PROFILE]:
            subprocess.run(["cp", "--preserve=mode", file, engine], check=True)

        def start(filter=refused, **how):
            return Container(recipe, folder, filter, **how)

        def start_confined(**how):
            return start(["--profile", "/mnt/seccomp.json"], **how)

        with start() as container:
            expect_life(container, "epoll")
        print("where io_uring is refused: serves by epoll, is healthy, drains")
        with start_confined() as container:
            expect_life(container, "io_uring")
        print("under seccomp.json: serves by io_uring, is healthy, drains")
        for begin in [start, start_confined]:
            expect_socket(begin, shared)
        print("of containers that share a folder one has a socket there, and the next after a crash")
        measure_starts(start)
        expect_calls(start, folder, [], 1)
        expect_calls(start, folder, ["--driver", "epoll"], 0)
        expect_readme(target)
        print("the README's first command serves where io_uring is refused")


if __name__ == "__main__":
    try:
        run(sys.argv[1], Path(sys.argv[2]))
    except Failed as failed:
        sys.exit(f"{RECIPE}: {failed}")
