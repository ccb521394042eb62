"""Plays the request cases of other projects against a gateway, and compares with expected.txt.

usage: play.py GATEWAY_PORT ADMIN_PORT GUNICORN GUARDIAN [--write]

Each case is sent in three ways (at once, byte by byte, cut in the middle of its head), each time with
a second request behind it in the same stream, to a listener and to the admin address. What comes back
is the statuses of all responses, in their order, and how it ends: `closed`, or `waits` where the
gateway wants more. The second request is answered with a status that nothing else there has, so that
it shows whether it was believed. All ways must come to the same.
"""

import re
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cases import Case, all_cases

HERE = Path(__file__).resolve().parent
EXPECTED = HERE / "expected.txt"

# How long nothing comes until a gateway is taken for one that waits for more: behind an answer, and in
# front of the first one.
SILENCE = 1
FIRST_SILENCE = 4
PATIENCE = 20

# How many bytes are sent one by one, at the beginning and at the end.
SINGLE = 1500

# Statuses by which a request is refused for what it is, and not for what it asks for.
REFUSED = {"400", "408", "411", "413", "414", "417", "421", "431", "501", "505"}


def second(target: str) -> bytes:
    """A request behind the case: what is answered to it nothing else is."""
    path = "/the-second" if target == "listener" else "/v1/config"
    return f"DELETE {path} HTTP/1.1\r\nHost: localhost\r\nX-Behind: yes\r\n\r\n".encode()


def ways(case: Case, behind: bytes):
    """The pieces in which it is sent, of each way."""
    stream = case.data + behind
    middle = max(1, (case.data.find(b"\r\n\r\n") + 1 or len(case.data)) // 2)
    yield "whole", [stream]
    yield "cut", [stream[:middle], stream[middle:]]
    # What is long has its middle at once, or its head would come too late.
    first, last = stream[:SINGLE], stream[SINGLE:][-SINGLE:]
    between = stream[len(first) : len(stream) - len(last)]
    single = [[piece[at : at + 1] for at in range(len(piece))] for piece in (first, last)]
    yield "bytes", [*single[0], *([between] if between else []), *single[1]]


def outcome(port: int, pieces: list[bytes]) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for at, piece in enumerate(pieces):
                peer.sendall(piece)
                if 1 < len(pieces) < 4 and at == 0:
                    time.sleep(0.05)
        except OSError:
            pass  # It has closed before all was sent.
        received, end = b"", "waits"
        peer.settimeout(FIRST_SILENCE)
        try:
            while piece := peer.recv(65536):
                received += piece
                peer.settimeout(SILENCE)
            end = "closed"
        except TimeoutError:
            pass
        except ConnectionResetError:
            end = "closed"
        return " ".join([*statuses(received), end])


def statuses(received: bytes) -> list[str]:
    """The statuses of all responses in this stream; their content is passed over by its length."""
    found = []
    while received:
        head, separator, rest = received.partition(b"\r\n\r\n")
        status = re.match(rb"HTTP/1\.[01] (\d{3})[ \r]", head + b"\r")
        if not separator or not status:
            return [*found, "garbage"]
        number = status[1].decode()
        found.append(number)
        length = re.search(rb"\r\ncontent-length: *(\d+)", head.lower())
        if number.startswith("1"):
            length = None
        if b"transfer-encoding: chunked" in head.lower():
            end = rest.find(b"0\r\n\r\n")
            received = rest[end + 5 :] if end >= 0 else b""
            continue
        # An answer to HEAD has a length and nothing behind it.
        size = int(length[1]) if length else 0
        received = rest if rest.startswith(b"HTTP/1.") else rest[size:]
    return found


def of_head_have_content(port: int, case: Case) -> bool:
    """Whether an answer to HEAD has content (RFC 9110 section 9.3.2: it must not)."""
    if not case.data.startswith(b"HEAD "):
        return False
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as peer:
        peer.sendall(case.data)
        peer.settimeout(SILENCE)
        received = b""
        try:
            while piece := peer.recv(65536):
                received += piece
        except (TimeoutError, ConnectionResetError):
            pass
    _, separator, rest = received.partition(b"\r\n\r\n")
    return bool(separator and rest and not rest.startswith(b"HTTP/1."))


def play(case: Case, ports: dict[str, int]) -> tuple[list[str], list[str]]:
    """What comes of a case at the listener and at the admin address, and what is wrong with that."""
    found, wrong = [], []
    for target, port in ports.items():
        results = {way: outcome(port, pieces) for way, pieces in ways(case, second(target))}
        # That which goes on longest: see `comes_to`.
        longest = max(results.values(), key=len)
        if not all(comes_to(result, longest, target) for result in results.values()):
            wrong.append(f"{case.name} at the {target} depends on how it is cut: {results}")
        found.append(longest)
        if of_head_have_content(port, case):
            wrong.append(f"{case.name} at the {target}: an answer to HEAD has content")
    return found, wrong


def is_refused(result: str) -> bool:
    """Whether it was refused for what it is, or not answered, and nothing behind it was believed."""
    parts = result.split(" ")
    return len(parts) == 1 or (len(parts) == 2 and parts[0] in REFUSED)


def comes_to(result: str, wanted: str, target: str) -> bool:
    """Whether it came as it should. The admin address may answer before all content has come, and then
    closes in place of believing what stands behind it."""
    if result == wanted:
        return True
    is_begun = wanted.startswith(result.removesuffix("closed")) and " " in result
    return target == "admin" and result.endswith(" closed") and is_begun


def read_expected() -> dict[str, tuple[str, str, str]]:
    found = {}
    for line in EXPECTED.read_text().splitlines():
        if line and not line.startswith("#"):
            name, listener, admin, *why = (part.strip() for part in line.split("|"))
            found[name] = (listener, admin, why[0] if why else "")
    return found


def check(case: Case, found: list[str], expected: tuple[str, str, str] | None) -> list[str]:
    """What is wrong with what came of a case."""
    if expected is None:
        return [f"{case.name} is not in expected.txt: {found}"]
    listener, admin, why = expected
    wrong = []
    for target, result, wanted in zip(("listener", "admin"), found, (listener, admin)):
        if not comes_to(result, wanted, target):
            wrong.append(f"{case.name} at the {target}: {result}, expected {wanted}: {case.data!r}")
        differs = case.verdict != "either" and is_refused(result) != (case.verdict == "refuse")
        if differs and not why:
            wrong.append(f"{case.name} at the {target}: {result}, its authors say {case.verdict}")
    return wrong


def main() -> int:
    arguments = [one for one in sys.argv[1:] if one != "--write"]
    ports = {"listener": int(arguments[0]), "admin": int(arguments[1])}
    cases = all_cases(Path(arguments[2]), Path(arguments[3]))
    with ThreadPoolExecutor(64) as pool:
        played = list(pool.map(lambda case: play(case, ports), cases))
    if "--write" in sys.argv:
        old = read_expected() if EXPECTED.exists() else {}
        header = [
            line
            for line in (EXPECTED.read_text().splitlines() if EXPECTED.exists() else [])
            if line.startswith("#")
        ]
        lines = [
            " | ".join(
                [case.name, *found] + ([old[case.name][2]] if case.name in old and old[case.name][2] else [])
            )
            for case, (found, _) in zip(cases, played)
        ]
        EXPECTED.write_text("\n".join([*header, *lines]) + "\n")
    expected = read_expected()
    wrong = [line for _, lines in played for line in lines]
    for case, (found, _) in zip(cases, played):
        wrong.extend(check(case, found, expected.get(case.name)))
    gone = set(expected) - {case.name for case in cases}
    wrong.extend(f"{name} is in expected.txt, and no case" for name in sorted(gone))
    print("\n".join(wrong))
    print(f"smuggling: {len(cases)} cases, each in 3 ways at 2 addresses, {len(wrong)} wrong")
    return int(bool(wrong))


sys.exit(main())
