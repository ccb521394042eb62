"""Runs the service of the package in a folder that is a Debian, as its unit has it run.

usage: try_service.py ROOT

Stands for the service manager: it passes a socket for notifications, appends the log to
/var/log/tidegate.log, and gives the process the user, the capability, the limits and the folder of the
unit, which is the only one that may be written to. (What the unit forbids beside that wants systemd
itself.) Then it echoes over a WebSocket, also through a Unix socket in that folder, rotates the log,
reloads as the unit says, and ends the service. Exit code 0 if all went as it should, 1 if not.
"""

import base64
import configparser
import os
import resource
import shlex
import signal
import socket
import struct
import subprocess
import sys
import time

PATIENCE = 20
WATCHDOG_SECONDS = 2
NOBODY = 65_534

# Where the service has its Unix socket.
SOCKET = "/run/tidegate/tidegate.sock"


class Unit:
    """What a unit file says; a key that is written several times counts by its last line."""

    def __init__(self, path):
        parser = configparser.ConfigParser(strict=False, interpolation=None, delimiters="=")
        parser.optionxform = str
        parser.read(path)
        self.service = parser["Service"]

    def __getitem__(self, key):
        return self.service[key]


class Manager:
    """Where the service tells how it is."""

    def __init__(self, root):
        self.path = f"{root}/run/notify"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        os.chmod(self.path, 0o666)

    def expect(self, words):
        deadline, heard = time.monotonic() + PATIENCE, []
        while time.monotonic() < deadline:
            self.socket.settimeout(0.2)
            try:
                heard.append(self.socket.recv(4096).decode())
            except TimeoutError:
                continue
            if words in heard[-1].splitlines():
                return heard[-1]
        raise AssertionError(f"{words} was not told, but {heard}")


def free_ports():
    """A port for anyone, one for the admin address, and one that wants the capability."""
    taken = []
    for candidates in (range(20_000, 30_000), range(20_000, 30_000), range(600, 1024)):
        for port in candidates:
            try:
                taken.append(socket.create_server(("127.0.0.1", port)))
                break
            except OSError:
                continue
    ports = [one.getsockname()[1] for one in taken]
    for one in taken:
        one.close()
    assert len(ports) == 3, "no port is free"
    return ports


def ids(root, name):
    """The numbers of a user of ROOT and of its group."""
    with open(f"{root}/etc/passwd") as file:
        user = next(line.split(":") for line in file if line.startswith(f"{name}:"))
    return int(user[2]), int(user[3])


def make_runtime_directory(root, unit):
    """The folder that the unit has made for the service."""
    folder = f"{root}/run/{unit['RuntimeDirectory']}"
    os.mkdir(folder)
    os.chown(folder, *ids(root, unit["User"]))
    os.chmod(folder, int(unit["RuntimeDirectoryMode"], 8))
    assert SOCKET.startswith(folder.removeprefix(root)), folder


def strictly(root, unit, *command):
    """As `inside`, where nothing may be written to but the unit's folder."""
    assert unit["ProtectSystem"] == "strict"
    folder = f"$0/run/{unit['RuntimeDirectory']}"
    mounts = [f'mount --bind "{place}" "{place}"' for place in ("$0", folder)]
    mounts += ['mount -o remount,bind,ro "$0"']
    return inside(root, *command, first=" && ".join(mounts))


def inside(root, *command, first="true"):
    """The command, run where ROOT is all there is, with a /proc of its own."""
    script = first + ' && mount -t proc proc "$0/proc" && exec chroot "$0" "$@"'
    alone = ["unshare", "--mount", "--pid", "--fork", "--kill-child=KILL"]
    return [*alone, "sh", "-c", script, root, *command]


def limit_open_files(unit):
    """Limits this process, and so what it starts, as the unit does, or as far as it may."""
    wanted = int(unit["LimitNOFILE"])
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
    except (ValueError, PermissionError):
        _, wanted = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
        print(f"no more than {wanted} open files may be had here: the unit's limit is not tried")
    return wanted


def start(root, unit, ports):
    """Starts what the unit says, at these ports."""
    capability = unit["AmbientCapabilities"].removeprefix("CAP_").lower()
    assert unit["CapabilityBoundingSet"] == unit["AmbientCapabilities"]
    caps = f"-all,+{capability}"
    as_user = ["setpriv", f"--reuid={unit['User']}", f"--regid={unit['Group']}", "--init-groups"]
    as_user += [f"--inh-caps={caps}", f"--ambient-caps={caps}", f"--bounding-set={caps}"]
    as_user += ["--no-new-privs"] if unit["NoNewPrivileges"] == "yes" else []
    listen = [f"--listen=127.0.0.1:{port}" for port in (ports[0], ports[2])]
    listen += [f"--listen=unix:{SOCKET}"]
    command = [*shlex.split(unit["ExecStart"]), *listen, f"--admin=127.0.0.1:{ports[1]}"]
    environment = {
        "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin",
        "NOTIFY_SOCKET": "/run/notify",
        "WATCHDOG_USEC": str(WATCHDOG_SECONDS * 1_000_000),
    }
    with open(f"{root}/var/log/tidegate.log", "ab") as log:
        return subprocess.Popen(
            strictly(root, unit, *as_user, *command),
            env=environment,
            umask=int(unit["UMask"], 8),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
        )


def main_process(starter):
    """The service itself, which is the starter's one child."""
    with open(f"/proc/{starter.pid}/task/{starter.pid}/children") as children:
        return int(children.read())


def dial(path):
    """Connects to a Unix socket."""
    peer = socket.socket(socket.AF_UNIX)
    peer.settimeout(PATIENCE)
    peer.connect(path)
    return peer


def check_socket(root, unit):
    """The socket is its user's, and whoever is in its group may connect, and nobody else."""
    found = os.stat(root + SOCKET)
    user, group = ids(root, unit["User"])
    assert (found.st_uid, found.st_gid) == (user, group), found
    assert found.st_mode & 0o777 == 0o660, oct(found.st_mode)
    assert may_connect(root, [group])
    assert not may_connect(root, [])


def may_connect(root, groups):
    """Whether nobody may connect, if it is in these groups."""
    child = os.fork()
    if child == 0:
        # ROOT itself is in a folder of root's.
        os.chdir(f"{root}/run")
        os.setgroups(groups)
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        try:
            dial(os.path.relpath(SOCKET, "/run"))
        except PermissionError:
            os._exit(1)
        except BaseException:
            os._exit(2)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 1), code
    return code == 0


def echo(peer, text):
    """Opens a WebSocket, sends one message and receives it again; leaves the socket open."""
    key = base64.b64encode(os.urandom(16)).decode()
    peer.sendall(
        "GET /echo HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    stream = peer.makefile("rb")
    status = stream.readline()
    assert b" 101 " in status, status
    while stream.readline() not in (b"\r\n", b""):
        pass
    mask = os.urandom(4)
    masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(text))
    peer.sendall(struct.pack("!BB", 0x81, 0x80 | len(text)) + mask + masked)
    head = stream.read(2)
    assert head == struct.pack("!BB", 0x81, len(text)), head
    assert stream.read(len(text)) == text
    return peer


def check_process(process, open_files):
    """It runs as its user, with the one capability and the limit of open files."""
    with open(f"/proc/{process}/status") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    assert "0" not in status["Uid"].split(), status["Uid"]
    bind_service = f"{1 << 10:016x}"
    for sets in ("CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert status[sets] == bind_service, (sets, status[sets])
    assert status["NoNewPrivs"] == "1", status["NoNewPrivs"]
    with open(f"/proc/{process}/limits") as file:
        limit = next(line for line in file if line.startswith("Max open files"))
    assert limit.split()[3] == str(open_files), limit


def reload(root, unit, process):
    """Asks the process to read files anew with what this Debian has, as its manager would."""
    command = shlex.split(unit["ExecReload"].removeprefix("+"))
    command = [word.replace("$MAINPID", str(process)) for word in command]
    subprocess.run(["chroot", root, *command], check=True, timeout=PATIENCE)


def rotate(root, unit, process):
    """Rotates the log; what is logged then is in the new one, from its beginning."""
    log = f"{root}/var/log/tidegate.log"
    rotation = inside(root, "logrotate", "--force", "/etc/logrotate.d/tidegate")
    subprocess.run(rotation, check=True, timeout=PATIENCE)
    with open(f"{log}.1") as file:
        assert "listening on" in file.read()
    reload(root, unit, process)
    deadline = time.monotonic() + PATIENCE
    text = ""
    while "the configuration was read anew" not in text:
        assert time.monotonic() < deadline, f"nothing is logged behind the rotation: {text!r}"
        time.sleep(0.05)
        with open(log) as file:
            text = file.read()
    assert "\0" not in text and "listening on" not in text, text


def main(root):
    unit = Unit(f"{root}/usr/lib/systemd/system/tidegate.service")
    assert unit["Type"] == "notify"
    ports = free_ports()
    open_files = limit_open_files(unit)
    make_runtime_directory(root, unit)
    manager = Manager(root)
    starter = start(root, unit, ports)
    try:
        ready = manager.expect("READY=1")
        process = main_process(starter)
        check_process(process, open_files)
        peers = [socket.create_connection(("127.0.0.1", port), PATIENCE) for port in (ports[0], ports[2])]
        peers = [echo(peer, b"from outside") for peer in [*peers, dial(root + SOCKET)]]
        check_socket(root, unit)
        manager.expect("WATCHDOG=1")
        rotate(root, unit, process)
        os.kill(process, signal.SIGTERM)
        manager.expect("STOPPING=1")
        for peer in peers:
            peer.close()
        assert starter.wait(PATIENCE) == 0, f"exit code {starter.returncode}"
        left = os.listdir(os.path.dirname(root + SOCKET))
        assert left == [], left
    except AssertionError:
        with open(f"{root}/var/log/tidegate.log") as log:
            print(log.read()[-4000:], file=sys.stderr)
        raise
    finally:
        # Nothing, if it has ended.
        starter.kill()
        starter.wait()
        os.unlink(manager.path)
    print(f"the service told: {ready.splitlines()[-1]}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
