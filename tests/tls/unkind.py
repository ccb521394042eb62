"""What should not come to a TLS port comes, while somebody else's echo has to be answered.

    unkind.py FOLDER modern=PORT compatible=PORT impatient=PORT

`impatient` lets a handshake take a second. Exit code 0 and one line if every check passed, 1 and a
line for each that did not, 2 for a wrong call.
"""

import os
import socket
import ssl
import struct
import time

import trials
from records import ALERT, APPLICATION_DATA, CHANGE_CIPHER_SPEC, HANDSHAKE, Hands, record
from trials import ANSWER_SECONDS, REQUEST, Refused, answer_frame, expect, text_frame

# Descriptions of alerts (RFC 8446 section 6).
CLOSE_NOTIFY, UNEXPECTED_MESSAGE, BAD_RECORD_MAC, RECORD_OVERFLOW = 0, 10, 20, 22
ILLEGAL_PARAMETER, DECODE_ERROR, PROTOCOL_VERSION, USER_CANCELED = 47, 50, 70, 90

# RFC 8446 section 4.6.3: not requested, requested.
KEY_UPDATE = [b"\x18\0\0\1\0", b"\x18\0\0\1\1"]

# More than anybody is to take of what has no use.
FLOOD = 20_000


def sent(port: int, data: bytes) -> bytes:
    """What is answered to bytes up to the end, which has to come without our doing."""
    with socket.create_connection(("127.0.0.1", port), ANSWER_SECONDS) as peer:
        answer = b""
        try:
            peer.sendall(data)
            while more := peer.recv(65536):
                answer += more
        except (ConnectionResetError, BrokenPipeError):
            pass
        return answer


def plain_http(port: int, request: bytes) -> None:
    answer = sent(port, request)
    head, _, body = answer.partition(b"\r\n\r\n")
    expect("the first line", head.split(b"\r\n")[0][:13], b"HTTP/1.1 400 ")
    expect("plain text", b"content-type: text/plain" in head.lower(), True)
    expect("it says why", b"https" in body.lower() or b"tls" in body.lower(), True)


def nonsense(port: int, data: bytes) -> None:
    """It ends with an alert, or without a word, and without waiting for more."""
    begun = time.monotonic()
    answer = sent(port, data)
    if time.monotonic() - begun > 5:
        raise Refused("it was waited for more")
    if answer and not (answer[0] == ALERT and answer[5] == 2):
        raise Refused(f"the answer is {answer[:60]!r}")


def hello_cut(port: int, each: int) -> None:
    with Hands(FOLDER, port) as hands:
        hands.finish(each=each)
        echoes(hands)


def hello_split(port: int, size: int) -> None:
    """Section 5.1: "Handshake messages MAY be [...] fragmented across several records"."""

    def split(flight: bytes) -> bytes:
        if not flight.startswith(b"\x16\x03\x01"):
            return flight
        message = flight[5:]
        return b"".join(
            record(HANDSHAKE, message[at : at + size], 0x0301)
            for at in range(0, len(message), size)
        )

    with Hands(FOLDER, port) as hands:
        hands.finish(split=split)
        echoes(hands)


def padded(hello: bytes, size: int) -> bytes:
    """The message of a ClientHello with an extension (RFC 7685) that makes it so long."""
    at = 4 + 2 + 32
    at += 1 + hello[at]
    at += 2 + int.from_bytes(hello[at : at + 2], "big")
    at += 1 + hello[at]
    padding = struct.pack(">HH", 21, size) + bytes(size)
    extensions = hello[at + 2 :] + padding
    body = hello[4:at] + struct.pack(">H", len(extensions)) + extensions
    return b"\x01" + len(body).to_bytes(3, "big") + body


def hello_of_64_kib(port: int) -> None:
    with Hands(FOLDER, port) as hands:
        flight = hands.flight()
        message = padded(flight[5:], 0xFFFF - len(flight))
        records = [
            record(HANDSHAKE, message[at : at + 16384], 0x0301)
            for at in range(0, len(message), 16384)
        ]
    nonsense(port, b"".join(records))


def stops(port: int, sends) -> None:
    """A client that says no more is closed by the deadline, and not before half of it."""
    with Hands(FOLDER, port) as hands:
        begun = time.monotonic()
        sends(hands)
        hands.end(sealed=False)
        took = time.monotonic() - begun
        if not 0.5 <= took <= 4:
            raise Refused(f"the end came after {took:.2f} s")


def many_stop(port: int) -> None:
    """So many that there is room for no more handshakes; others go on all the same."""
    peers = []
    try:
        for _ in range(400):
            peers.append(socket.create_connection(("127.0.0.1", port), ANSWER_SECONDS))
            peers[-1].sendall(b"\x16\x03\x01")
        WITNESS.is_answered()
        for peer in peers:
            peer.settimeout(ANSWER_SECONDS)
            try:
                while peer.recv(4096):
                    pass
            except ConnectionResetError:
                pass
    finally:
        for peer in peers:
            peer.close()
    with Hands(FOLDER, port) as hands:
        hands.finish()
        echoes(hands)


def established(port: int, alert, says) -> None:
    """A connection that is open says something, and is told `alert`: one or one of several."""
    with Hands(FOLDER, port) as hands:
        hands.finish()
        echoes(hands)
        try:
            says(hands)
        except (BrokenPipeError, ConnectionResetError):
            pass
        got = hands.end(sealed=True)
        if got not in (alert if isinstance(alert, tuple) else (alert,)):
            raise Refused(f"the alert is {got}, expected {alert}")


def lives(port: int, says) -> None:
    """A connection says what it may, and goes on."""
    with Hands(FOLDER, port) as hands:
        hands.finish()
        echoes(hands)
        for turn in range(3):
            says(hands)
            said(hands, f"behind it {turn}")


def echoes(hands: Hands) -> None:
    hands.send(hands.writes.seal(APPLICATION_DATA, REQUEST))
    heard = b""
    while not heard.endswith(b"\r\n\r\n"):
        kind, content = hands.hear()
        expect("what comes", kind, APPLICATION_DATA)
        heard += content
    expect("the status", heard[:13], b"HTTP/1.1 101 ")
    said(hands, "once")


def said(hands: Hands, text: str) -> None:
    hands.send(hands.writes.seal(APPLICATION_DATA, text_frame(text)))
    wanted, heard = answer_frame(text), b""
    while len(heard) < len(wanted):
        kind, content = hands.hear()
        expect("what comes", kind, APPLICATION_DATA)
        heard += content
    expect("the answer", heard, wanted)


def sealed(kind: int, content: bytes, padding: int = 0):
    return lambda hands: hands.send(hands.writes.seal(kind, content, padding))


def flood(kind: int, content: bytes):
    def says(hands: Hands) -> None:
        for _ in range(FLOOD // 100):
            hands.send(b"".join(hands.writes.seal(kind, content) for _ in range(100)))
            if hands.is_heard():
                return

    return says


def updates(how: int, times: int):
    def says(hands: Hands) -> None:
        for _ in range(times):
            hands.send(hands.writes.seal(HANDSHAKE, KEY_UPDATE[how]))
            hands.writes.update()
            # Where updates are asked for, it is they that are heard.
            if not how and hands.is_heard():
                return

    return says


def changed(hands: Hands) -> None:
    data = bytearray(hands.writes.seal(APPLICATION_DATA, text_frame("changed")))
    data[-1] ^= 1
    hands.send(bytes(data))


def before(check) -> None:
    """What comes instead of a handshake."""
    port = PORTS["modern"]
    for request in (
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: a\r\n\r\n",
        REQUEST,
    ):
        check(f"HTTP: {request[:12]!r}", plain_http, port, request)
    sslv2 = b"\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10" + bytes(37)
    others = {
        "zeros": bytes(600),
        "SSLv2": sslv2,
        "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
        "noise": os.urandom(5000),
    }
    others["a PROXY header"] = b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n"
    others["application data"] = record(APPLICATION_DATA, bytes(100))
    others["an alert"] = record(ALERT, b"\2\50")
    others["no record may be so long"] = b"\x16\x03\x01\xff\xff" + bytes(100)
    others["an empty handshake record"] = record(HANDSHAKE, b"") * FLOOD
    others["ChangeCipherSpec"] = record(CHANGE_CIPHER_SPEC, b"\1") * FLOOD
    others["a message of 16 MiB"] = record(HANDSHAKE, b"\1\xff\xff\xff" + bytes(10_000)) * 200
    others["another message"] = record(HANDSHAKE, b"\2\0\0\4" + bytes(4))
    for name in ("modern", "compatible"):
        for what, data in others.items():
            check(f"{name}: {what}", nonsense, PORTS[name], data)
        check(f"{name}: a hello of 64 KiB", hello_of_64_kib, PORTS[name])
        for each in (1, 2, 7, 300):
            check(f"{name}: flights by {each} bytes", hello_cut, PORTS[name], each)
        for size in (1, 5, 100):
            check(f"{name}: a hello in records of {size} bytes", hello_split, PORTS[name], size)


def deadlines(check) -> None:
    port = PORTS["impatient"]
    check("silent from the start", stops, port, lambda hands: None)
    check("half a record", stops, port, lambda hands: hands.send(b"\x16\x03"))
    check("half a hello", stops, port, lambda hands: hands.send(hands.flight()[:-1]))
    check("no Finished", stops, port, lambda hands: hands.send(hands.flight()))
    check("many that stop", many_stop, port)


def behind(check) -> None:
    """What comes on a connection that is open."""
    port = PORTS["modern"]
    unexpected = {
        "a flood of key updates": updates(0, FLOOD),
        "a flood of empty records": flood(APPLICATION_DATA, b""),
        "a flood of warnings": flood(ALERT, bytes([1, USER_CANCELED])),
        "ChangeCipherSpec": lambda hands: hands.send(record(CHANGE_CIPHER_SPEC, b"\1")),
        "a ticket": sealed(HANDSHAKE, b"\4\0\0\5" + bytes(5)),
        "another hello": sealed(HANDSHAKE, b"\1\0\0\5" + bytes(5)),
        "no content": lambda hands: hands.send(hands.writes.seal_inner(bytes(64))),
        "an unknown kind": sealed(99, b"content"),
        "data behind a key update": sealed(HANDSHAKE, KEY_UPDATE[0] + KEY_UPDATE[0]),
    }
    for what, says in unexpected.items():
        check(what, established, port, UNEXPECTED_MESSAGE, says)
    # Here we go on until there is no connection, so the alert may be lost.
    asking = updates(1, FLOOD)
    check(
        "a flood of key updates that ask for more",
        established,
        port,
        (UNEXPECTED_MESSAGE, None),
        asking,
    )
    check("a changed record", established, port, BAD_RECORD_MAC, changed)
    check(
        "a record in plain",
        established,
        port,
        (UNEXPECTED_MESSAGE, BAD_RECORD_MAC),
        lambda hands: hands.send(record(APPLICATION_DATA, text_frame("plain"))),
    )
    check(
        "a record too long",
        established,
        port,
        RECORD_OVERFLOW,
        lambda hands: hands.send(record(APPLICATION_DATA, bytes(16641))),
    )
    check(
        "content too long",
        established,
        port,
        RECORD_OVERFLOW,
        sealed(APPLICATION_DATA, bytes(16385)),
    )
    check(
        "a key update of 2",
        established,
        port,
        ILLEGAL_PARAMETER,
        sealed(HANDSHAKE, b"\x18\0\0\1\2"),
    )
    check(
        "a key update too long",
        established,
        port,
        (DECODE_ERROR, ILLEGAL_PARAMETER, UNEXPECTED_MESSAGE),
        sealed(HANDSHAKE, b"\x18\0\0\2\0\0"),
    )
    check("a fatal alert", established, port, (None, CLOSE_NOTIFY), sealed(ALERT, bytes([2, 80])))
    check("close_notify", established, port, CLOSE_NOTIFY, sealed(ALERT, bytes([1, CLOSE_NOTIFY])))
    check("empty records", lives, port, sealed(APPLICATION_DATA, b""))
    check("padding", lives, port, sealed(APPLICATION_DATA, text_ping(), 1000))
    check("key updates", lives, port, updates(0, 1))
    check("key updates that ask for one", lives, port, updates(1, 1))


def text_ping() -> bytes:
    """An unsolicited Pong, which nothing answers (RFC 6455 section 5.5.3)."""
    return b"\x8a\x80" + bytes(4)


def run() -> None:
    global WITNESS
    WITNESS = trials.Witness(FOLDER, PORTS["modern"])
    all_trials = trials.Trials(f"unkind clients ({ssl.OPENSSL_VERSION[:14]})")

    def check(what: str, trial, *arguments) -> None:
        all_trials.check(what, trial, *arguments)
        all_trials.check(f"the witness behind: {what}", WITNESS.is_answered)

    before(check)
    deadlines(check)
    behind(check)
    all_trials.end()


FOLDER, PORTS = trials.called(__doc__)
run()
