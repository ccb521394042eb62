"""Talks to an echo server through Python's `websockets`, which shares nothing with the gateway.

    python3 python_websockets.py ws://127.0.0.1:8080/echo

Exit code 0 and one line if every check passed, 1 and a line for each that did not, 2 for a wrong
call.
"""

import asyncio
import random
import sys

import websockets
from websockets.asyncio.client import connect
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

SIZES = [0, 1, 125, 126, 65_535, 65_536, 1 << 20]
CONNECTIONS_AT_ONCE = 50
CHECK_SECONDS_MAX = 30

# Each way to offer compression, None for not offering it.
OFFERS = {
    "off": None,
    "default": {},
    "any client window": {"client_max_window_bits": True},
    "no context takeover": {"server_no_context_takeover": True, "client_no_context_takeover": True},
    "server without context takeover": {"server_no_context_takeover": True},
    "windows of 9 bits": {"server_max_window_bits": 9, "client_max_window_bits": 9},
    "window of 10 bits, no context takeover": {
        "server_max_window_bits": 10, "client_max_window_bits": 10,
        "server_no_context_takeover": True, "client_no_context_takeover": True,
    },
}


def opened(url, offer, **options):
    extensions = None if offer is None else [ClientPerMessageDeflateFactory(**offer)]
    # With a limit of frames that wait, the library stops reading while it waits for a pong, and an
    # echo comes in as many frames as its message came in pieces.
    limits = {"max_size": None, "max_queue": None}
    return connect(
        url, compression=None, extensions=extensions, proxy=None, **limits, **options
    )


def text_of(size):
    """Text of so many bytes in UTF-8: two-byte characters, so that pieces end within one."""
    return "a" * (size % 2) + "é" * (size // 2)


def bytes_of(size):
    """Half of it compressible, half not."""
    return bytes(size // 2) + random.Random(size).randbytes(size - size // 2)


def expect(what, got, wanted):
    if got != wanted:
        raise AssertionError(f"{what}: got {got!r}, expected {wanted!r}")


async def expect_echo(ws, sent):
    got = await ws.recv()
    expect("kind of the echo", type(got), type(sent))
    if got != sent:
        pairs = enumerate(zip(got, sent))
        at = next((at for at, (one, other) in pairs if one != other), min(len(got), len(sent)))
        raise AssertionError(f"echo of length {len(sent)}: got {len(got)}, different from {at} on")


async def negotiates(url, offer):
    """The library refuses an answer that does not honour its offer (RFC 7692 section 7.1)."""
    async with opened(url, offer) as ws:
        answer = ws.response.headers.get("Sec-WebSocket-Extensions", "")
        agreed = [extension.name for extension in ws.protocol.extensions]
        if offer is None:
            expect("extensions in the answer", (answer, agreed), ("", []))
            return
        expect("extensions agreed on", agreed, ["permessage-deflate"])
        expect("name in the answer", answer.split(";")[0].strip(), "permessage-deflate")


async def echoes(url, offer, message):
    async with opened(url, offer) as ws:
        # Twice: with context takeover the second is compressed against the first.
        for _ in range(2):
            await ws.send(message)
            await expect_echo(ws, message)


async def echoes_fragments(url, offer, fragments):
    async with opened(url, offer) as ws:
        async def one_by_one():
            for fragment in fragments:
                yield fragment
                # A control frame may come between the fragments (RFC 6455 section 5.4).
                await (await ws.ping())

        await ws.send(one_by_one())
        await expect_echo(ws, fragments[0][:0].join(fragments))


async def answers_ping(url, offer, payload):
    async with opened(url, offer) as ws:
        # The library completes this only for a pong with the same payload (RFC 6455 section 5.5.3).
        await (await ws.ping(payload))
        await ws.send("after the pong")
        await expect_echo(ws, "after the pong")


async def chooses_no_subprotocol(url, offered):
    async with opened(url, None, subprotocols=offered) as ws:
        expect("subprotocol", ws.subprotocol, None)
        expect("header", ws.response.headers.get("Sec-WebSocket-Protocol"), None)


async def closes(url, offer, code, reason):
    async with opened(url, offer) as ws:
        await ws.close(code, reason)
        received = ws.protocol.close_rcvd
        expect("close frame", received and (received.code, received.reason), (code, reason))


async def serves_at_once(url, offer):
    async with asyncio.TaskGroup() as group:
        everyone_is_there = asyncio.Barrier(CONNECTIONS_AT_ONCE)

        async def one(number):
            async with opened(url, offer) as ws:
                await everyone_is_there.wait()
                for turn in range(10):
                    message = f"connection {number}, turn {turn}, " + "x" * number * 100
                    await ws.send(message)
                    await expect_echo(ws, message)

        for number in range(CONNECTIONS_AT_ONCE):
            group.create_task(one(number))


def checks(url):
    """Yields name and coroutine of each check."""
    for name, offer in OFFERS.items():
        yield f"{name}: negotiation", negotiates(url, offer)
        for size in SIZES:
            yield f"{name}: text of {size} bytes", echoes(url, offer, text_of(size))
            yield f"{name}: binary of {size} bytes", echoes(url, offer, bytes_of(size))
        text = ["Gr", "", "üße ", "潮の門" * 20_000, ""]
        yield f"{name}: text in fragments", echoes_fragments(url, offer, text)
        binary = [b"", b"\0", bytes_of(70_000), b"\xff"]
        yield f"{name}: binary in fragments", echoes_fragments(url, offer, binary)
        yield f"{name}: {CONNECTIONS_AT_ONCE} connections at once", serves_at_once(url, offer)
    for name in ("off", "default"):
        offer = OFFERS[name]
        for size in (0, 1, 125):
            yield f"{name}: ping of {size} bytes", answers_ping(url, offer, bytes_of(size))
        for code in (1000, 3000, 4999):
            yield f"{name}: close {code}", closes(url, offer, code, "")
            yield f"{name}: close {code} with a reason", closes(url, offer, code, "bis später")
        yield f"{name}: close with the longest reason", closes(url, offer, 1000, text_of(123))
    yield "no subprotocol offered", chooses_no_subprotocol(url, None)
    yield "an unknown subprotocol offered", chooses_no_subprotocol(url, ["nobody.knows.this"])


async def run(url):
    passed = failed = 0
    for name, check in checks(url):
        try:
            await asyncio.wait_for(check, CHECK_SECONDS_MAX)
            passed += 1
        except Exception as error:
            failed += 1
            print(f"FAILED {name}: {type(error).__name__}: {error}")
            for inner in getattr(error, "exceptions", ())[:3]:
                print(f"    {type(inner).__name__}: {inner}")
    outcome = f"{passed} checks passed" + (f", {failed} failed" if failed else "")
    print(f"python websockets {websockets.__version__}: {outcome}")
    return 1 if failed else 0


if __name__ == "__main__":
    if sys.argv[1:] in ([], ["--help"]) or len(sys.argv) != 2:
        print(__doc__.strip())
        sys.exit(0 if sys.argv[1:] == ["--help"] else 2)
    sys.exit(asyncio.run(run(sys.argv[1])))
