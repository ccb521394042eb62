"""Clients that come through proxies, and what the gateway says of where they are.

usage: clients.py ADMIN PORT NAME=PORT...
"""

import base64
import json
import os
import socket
import sys
import time
import urllib.request

CLIENT = "127.0.0.77"
PATIENCE = 20


def connect(port):
    """A connection from CLIENT, as soon as somebody listens."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return socket.create_connection(
                ("127.0.0.1", port), timeout=PATIENCE, source_address=(CLIENT, 0)
            )
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def request(path):
    key = base64.b64encode(os.urandom(16)).decode()
    return (
        f"GET {path} HTTP/1.1\r\nHost: gateway.test\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


def text(words):
    """A masked frame of less than 126 bytes, whose mask changes nothing."""
    return bytes([0x81, 0x80 | len(words), 0, 0, 0, 0]) + words


def until(stream, end):
    heard = b""
    while not heard.endswith(end):
        more = stream.recv(4096)
        if not more:
            raise AssertionError(f"ended behind {heard!r}")
        heard += more
    return heard


def ask(admin, path):
    with urllib.request.urlopen(f"http://{admin}{path}", timeout=PATIENCE) as answer:
        return answer.read().decode()


def counted(admin, name):
    """The sum over all shards."""
    lines = ask(admin, "/metrics").splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


def wait_for(what, probe):
    deadline = time.monotonic() + PATIENCE
    while not probe():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited in vain: {what}")
        time.sleep(0.05)


def through(admin, port):
    """Opens a connection to a room; it is listed with our own address, and carries messages."""
    with connect(port) as stream:
        stream.sendall(request("/rooms/7"))
        head = until(stream, b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101"), head
        own = "{}:{}".format(*stream.getsockname())
        answer = json.loads(ask(admin, f"/v1/connections?address={CLIENT}"))
        told = [one["address"] for one in answer["connections"]]
        assert told == [own], f"told {told}, is {own}"
        stream.sendall(text(b"hello"))
        assert until(stream, b"hello") == b"\x81\x05hello"
    wait_for("it is gone", lambda: counted(admin, "tidegate_connections_open") == 0)


def past(admin, port):
    """Who comes past the proxy is told nothing, whatever it says."""
    refused = 'tidegate_proxy_refused_total{reason="stranger"'
    before = counted(admin, refused)
    header = b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\n"
    with connect(port) as stream:
        try:
            stream.sendall(header + request("/rooms/7"))
            heard = stream.recv(4096)
        except (ConnectionResetError, BrokenPipeError):
            heard = b""
    assert heard == b"", heard
    wait_for("it is counted", lambda: counted(admin, refused) == before + 1)


def main():
    admin, behind, *proxies = sys.argv[1:]
    trials = [("past the proxies", past, int(behind))]
    for proxy in proxies:
        name, port = proxy.split("=")
        trials.append((f"through {name}", through, int(port)))
    failed = 0
    for name, trial, port in trials:
        try:
            trial(admin, port)
        except (AssertionError, OSError) as error:
            failed += 1
            print(f"FAILED {name}: {error!r}")
    # Health checks are connections of the proxy itself, and no mistakes.
    read = counted(admin, "tidegate_proxy_headers_total")
    checks = lambda: counted(admin, "tidegate_proxy_headers_total") > read + 2
    try:
        wait_for("health checks", checks)
        wrong = counted(admin, "tidegate_proxy_refused_total")
        assert wrong == 1, f"{wrong} were refused, and one was a stranger"
    except AssertionError as error:
        failed += 1
        print(f"FAILED health checks: {error}")
    print(f"{len(trials) + 1 - failed} of {len(trials) + 1} trials of PROXY headers passed")
    return 1 if failed else 0


sys.exit(main())
