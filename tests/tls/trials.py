"""What the trials of TLS have in common: how they are called, told and counted, and an echo.

Each is called with the folder of the certificates (authority.sh) and with `NAME=PORT` for each
listener of the gateway on 127.0.0.1 (run.sh).
"""

import os
import socket
import ssl
import struct
import sys
import time

# An answer that takes longer is none.
ANSWER_SECONDS = 10


class Refused(Exception):
    """Something else came than was expected."""


class Trials:
    """Runs checks one by one, says which did not pass, and counts."""

    def __init__(self, name: str):
        self.name, self.passed, self.failed = name, 0, 0

    def check(self, what: str, trial, *arguments, **named) -> None:
        try:
            trial(*arguments, **named)
            self.passed += 1
        except Exception as error:  # Whatever it is, the others are to be tried.
            self.failed += 1
            print(f"FAILED {what}: {type(error).__name__}: {error}")

    def end(self) -> None:
        failed = f", {self.failed} failed" if self.failed else ""
        print(f"{self.name}: {self.passed} checks passed{failed}")
        sys.exit(1 if self.failed else 0)


def called(documentation: str) -> tuple[str, dict[str, int]]:
    """The folder of the certificates and the ports, of the command line."""
    arguments = sys.argv[1:]
    if len(arguments) < 2 or "--help" in arguments:
        print(documentation.strip())
        sys.exit(0 if "--help" in arguments else 2)
    ports = dict(argument.split("=", 1) for argument in arguments[1:])
    return arguments[0], {name: int(port) for name, port in ports.items()}


def expect(what: str, got, wanted) -> None:
    if got != wanted:
        raise Refused(f"{what} is {got!r}, expected {wanted!r}")


def expect_within(what: str, text: str, wanted: str) -> None:
    if wanted not in text:
        raise Refused(f"{what} has no {wanted!r}: {text[-300:]!r}")


# WebSocket, as little of it as an echo takes.

REQUEST = (
    b"GET /echo HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def text_frame(text: str) -> bytes:
    """A masked frame; the key is zero, so that its text can be seen in what is sent."""
    payload = text.encode()
    size = len(payload)
    if size <= 125:
        return bytes([0x81, 0x80 | size]) + bytes(4) + payload
    if size <= 0xFFFF:
        return struct.pack(">BBH", 0x81, 0xFE, size) + bytes(4) + payload
    return struct.pack(">BBQ", 0x81, 0xFF, size) + bytes(4) + payload


def answer_frame(text: str) -> bytes:
    """What an echo answers, if that is one frame."""
    payload = text.encode()
    size = len(payload)
    if size <= 125:
        return bytes([0x81, size]) + payload
    return struct.pack(">BBH", 0x81, 126, size) + payload


class Witness:
    """A client that has nothing to do with what is tried, and must not notice it."""

    def __init__(self, folder: str, port: int):
        context = ssl.create_default_context(cafile=os.path.join(folder, "ca.pem"))
        plain = socket.create_connection(("127.0.0.1", port), ANSWER_SECONDS)
        self.socket = context.wrap_socket(plain, server_hostname="localhost")
        self.socket.sendall(REQUEST)
        self.answers = 0
        head = self.read_until(b"\r\n\r\n")
        expect("status", head.split(b" ")[1], b"101")

    def read_until(self, end: bytes) -> bytes:
        read = b""
        while not read.endswith(end):
            more = self.socket.recv(4096)
            if not more:
                raise Refused(f"the witness was closed behind {read!r}")
            read += more
        return read

    def is_answered(self, seconds: float = 2) -> None:
        self.answers += 1
        text = f"still here {self.answers}"
        begun = time.monotonic()
        self.socket.sendall(text_frame(text))
        self.read_until(answer_frame(text))
        took = time.monotonic() - begun
        if took > seconds:
            raise Refused(f"the witness waited for {took:.1f} s")
