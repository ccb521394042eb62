#!/usr/bin/env python3
"""Writes the seeds of the fuzz targets' corpus: one file each, named after what it holds.

Each begins with the parameters of its target (tests/src/fuzzing). What the fuzzer found stays
beside them; this script leaves other files alone.
"""

import pathlib
import shutil
import struct
import zlib

HERE = pathlib.Path(__file__).parent
CORPUS = HERE / "corpus"
KEY = bytes([0x37, 0xFA, 0x21, 0x3D])
TAIL = b"\0\0\xff\xff"


def write(target: str, name: str, data: bytes) -> None:
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def frame(first: int, payload: bytes = b"", key: bytes | None = KEY, length: bytes | None = None) -> bytes:
    """A frame; `length` is how its length is written, if not in the shortest way."""
    size = len(payload)
    if length is None:
        if size <= 125:
            length = bytes([size])
        elif size <= 0xFFFF:
            length = b"\x7e" + struct.pack(">H", size)
        else:
            length = b"\x7f" + struct.pack(">Q", size)
    if key is None:
        return bytes([first]) + length + payload
    masked = bytes(byte ^ key[at % 4] for at, byte in enumerate(payload))
    return bytes([first, length[0] | 0x80]) + length[1:] + key + masked


def deflated(message: bytes, level: int = 6, window_bits: int = 15) -> bytes:
    codec = zlib.compressobj(level, zlib.DEFLATED, -window_bits)
    return (codec.compress(message) + codec.flush(zlib.Z_SYNC_FLUSH)).removesuffix(TAIL)


def frames() -> None:
    """After the cases of the Autobahn suite: 1 framing, 2 pings, 3 reserved bits, 4 opcodes,
    5 fragmentation, 6 UTF-8, 7 closing, 9 limits, 12 compression."""
    snowman = "Hello-µ@ßöäüàá-UTF-8!! ☃😀".encode()
    streams = {
        "1.1-text": frame(0x81, b"Hello"),
        "1.1-empty-text": frame(0x81),
        "1.1-125-text": frame(0x81, b"*" * 125),
        "1.1-126-text": frame(0x81, b"*" * 126),
        "1.1-127-text": frame(0x81, b"*" * 127),
        "1.2-binary": frame(0x82, bytes(range(256))),
        "1.2-65535-binary": frame(0x82, b"\xfe" * 65535),
        "1.2-65536-binary": frame(0x82, b"\xfe" * 65536),
        "2.2-ping": frame(0x89, b"Hello, world!"),
        "2.4-ping-125": frame(0x89, b"\xfe" * 125),
        "2.5-ping-126": frame(0x89, b"\xfe" * 126),
        "2.7-pong-unasked": frame(0x8A, b"unsolicited"),
        "2.10-ten-pings": b"".join(frame(0x89, b"payload-%d" % n) for n in range(10)),
        "3.1-rsv3": frame(0x91, b"reserved"),
        "3.2-rsv2-after-text": frame(0x81, b"small") + frame(0xA1, b"reserved") + frame(0x89),
        "3.7-rsv-all-on-close": frame(0xF8, b"\x03\xe8"),
        "4.1-opcode-3": frame(0x83, b"reserved"),
        "4.2-opcode-11": frame(0x81, b"small") + frame(0x8B) + frame(0x89),
        "5.1-fragmented-ping": frame(0x09, b"frag") + frame(0x80, b"ment"),
        "5.3-fragmented-text": frame(0x01, b"fragment1") + frame(0x80, b"fragment2"),
        "5.6-ping-between-fragments": frame(0x01, b"one") + frame(0x89, b"ping") + frame(0x80, b"two"),
        "5.9-continues-nothing": frame(0x80, b"non-continuation") + frame(0x81, b"Hello"),
        "5.15-continues-after-the-end": frame(0x01, b"a") + frame(0x80, b"b") + frame(0x00, b"c"),
        "5.18-message-within-a-message": frame(0x01, b"fragment1") + frame(0x81, b"fragment2"),
        "5.19-pings-and-empty-fragments": b"".join(
            frame(first, payload)
            for first, payload in [(0x01, b"a"), (0x00, b""), (0x89, b"p"), (0x00, b"b"), (0x89, b""), (0x80, b"")]
        ),
        "6.2-text": frame(0x81, snowman),
        "6.2-text-octet-by-octet": b"".join(
            frame((0x01 if n == 0 else 0) | (0x80 if n == len(snowman) - 1 else 0), snowman[n : n + 1])
            for n in range(len(snowman))
        ),
        "6.3-not-utf8": frame(0x81, b"\xce\xba\xe1\xbd\xb9\xed\xa0\x80edited"),
        "6.4-not-utf8-in-the-second-fragment": frame(0x01, b"\xce\xba") + frame(0x80, b"\xf4\x90\x80\x80"),
        "6.6-cut-within-a-character": frame(0x81, b"\xce\xba\xe1\xbd"),
        "6.12-surrogate": frame(0x81, b"\xed\xbf\xbf"),
        "6.22-noncharacters": frame(0x81, b"\xef\xbf\xbe\xf0\x9f\xbf\xbe\xf4\x8f\xbf\xbf"),
        "7.1-text-after-close": frame(0x88, b"\x03\xe8") + frame(0x81, b"Hello"),
        "7.3-close-without-a-body": frame(0x88),
        "7.3-close-of-one-octet": frame(0x88, b"a"),
        "7.3-close-with-a-reason": frame(0x88, b"\x03\xe8Hello World!"),
        "7.3-close-of-125": frame(0x88, b"\x03\xe8" + b"*" * 123),
        "7.3-close-of-126": frame(0x88, b"\x03\xe8" + b"*" * 124),
        "7.5-close-not-utf8": frame(0x88, b"\x03\xe8\xce\xba\xe1\xbd\xb9\xcf\x83\xed\xa0\x80"),
        "7.7-close-3000": frame(0x88, b"\x0b\xb8"),
        "7.9-close-1005": frame(0x88, b"\x03\xed"),
        "7.13-close-65535": frame(0x88, b"\xff\xff"),
        "length-not-minimal-16": frame(0x82, b"x" * 5, length=b"\x7e\x00\x05"),
        "length-not-minimal-64": frame(0x82, b"x" * 5, length=b"\x7f" + struct.pack(">Q", 5)),
        "length-top-bit": frame(0x82, b"x", length=b"\x7f" + struct.pack(">Q", 1 << 63)),
        "length-all-but-the-top-bit": frame(0x82, b"x", length=b"\x7f" + struct.pack(">Q", (1 << 63) - 1)),
        "too-long-by-one": frame(0x02, b"x" * 600) + frame(0x80, b"x" * 401),
        "just-not-too-long": frame(0x02, b"x" * 600) + frame(0x80, b"x" * 400),
        "the-other-role": frame(0x81, b"Hello", key=None),
    }
    for name, stream in streams.items():
        most = 0xFFFF if "65" in name else 1000
        write("frames", f"server-{name}", struct.pack(">BHB", 0, most, 3) + stream)
    client = {
        "text": frame(0x81, b"Hello", key=None),
        "fragments": frame(0x01, b"one", key=None) + frame(0x8A, key=None) + frame(0x80, b"two", key=None),
        "close": frame(0x88, b"\x03\xe8bye", key=None),
        "masked": frame(0x81, b"Hello"),
    }
    for name, stream in client.items():
        write("frames", f"client-{name}", struct.pack(">BHB", 1, 1000, 2) + stream)
    hello = deflated(b"Hello" * 40)
    compressed = {
        "12.1-text": frame(0xC1, hello),
        "12.1-fragments": frame(0x41, hello[:3]) + frame(0x89, b"ping") + frame(0x80, hello[3:]),
        "12.1-plain-text-too": frame(0x81, snowman) + frame(0xC2, hello),
        "rsv1-on-a-continuation": frame(0x41, hello[:3]) + frame(0xC0, hello[3:]),
        "rsv1-on-a-ping": frame(0xC9, b"ping"),
    }
    for name, stream in compressed.items():
        write("frames", f"compressed-{name}", struct.pack(">BHB", 2, 1000, 1) + stream)


def deflate() -> None:
    payloads = {
        # RFC 7692 section 7.2.3.
        "one-block": bytes.fromhex("f248cdc9c90700"),
        "window-of-the-message-before": bytes.fromhex("f200110000"),
        "stored": bytes.fromhex("000500faff48656c6c6f00"),
        "bfinal": bytes.fromhex("f348cdc9c9070000"),
        "two-blocks": bytes.fromhex("f248050000 00ffffcac9c90700".replace(" ", "")),
        "empty": b"\x00",
        # What is none.
        "nothing": b"",
        "block-type-3": b"\x07",
        "tail-left-in-place": bytes.fromhex("f248cdc9c907000000ffff"),
        "stored-length-damaged": bytes.fromhex("000500fbff48656c6c6f00"),
        "distance-too-far": bytes.fromhex("73040200"),
        "bfinal-many-times": b"\x03\x00" * 50 + b"\x00",
        # What compressors make.
        "bomb": deflated(bytes(200_000), 9),
        "text-dynamic-codes": deflated(b"".join(b"%d bottles, " % n for n in range(400)), 9),
        "text-window-9": deflated(b"".join(b"%d bottles, " % n for n in range(400)), 6, 9),
        "noise": deflated(bytes((n * n * 31 + n // 7) % 251 for n in range(700)), 1),
        "stored-by-choice": deflated(b"stored" * 30, 0),
        "text": b"Compressed by us, and inflated again. " * 8,
    }
    for name, payload in payloads.items():
        for how, stretches, room in [(0x05, 0, 255), (0x70, 2, 7)]:
            write("deflate", f"{name}-{how:02x}", bytes([how, stretches, room]) + payload)


def request_head() -> None:
    good = (
        "GET /chat?room=1 HTTP/1.1\r\nHost: server.example.com:8080\r\nUpgrade: websocket\r\n"
        "Connection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Sec-WebSocket-Version: 13\r\n"
    )
    heads = {
        "handshake": good + "\r\n",
        "handshake-with-everything": good
        + "Origin: https://example.com\r\nSec-WebSocket-Protocol: chat, superchat\r\n"
        "Cookie: a=b; c=d\r\nX-Empty:\r\n"
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits; "
        'server_max_window_bits="10"; client_no_context_takeover, permessage-deflate\r\n\r\n',
        "handshake-with-a-frame-behind": good + "\r\n\x01\x02",
        "extensions-malformed": good + 'Sec-WebSocket-Extensions: a; b="\\\r\n\r\n',
        "extensions-on-two-lines": good + "Sec-WebSocket-Extensions: x-a;b=c\r\nsec-websocket-extensions: permessage-deflate\r\n\r\n",
        "an-empty-line-before": "\r\n" + good + "\r\n",
        "plain-get": "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "http-1.0": "GET / HTTP/1.0\r\n\r\n",
        "absolute-form": "GET http://b.example:81/c?d HTTP/1.1\r\nHost: a\r\n\r\n",
        "ipv6": "GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n",
        "post": "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
        "chunked": "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "smuggled": "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nTransfer-Encoding : chunked\r\n\r\n",
        "bare-line-feeds": "GET / HTTP/1.1\nHost: a\n\n",
        "folded": "GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n c\r\n\r\n",
        "http-2": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "two-hosts": "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "64-lines": "GET / HTTP/1.1\r\nHost: a\r\n" + "A: b\r\n" * 63 + "\r\n",
        "65-lines": "GET / HTTP/1.1\r\nHost: a\r\n" + "A: b\r\n" * 64 + "\r\n",
        "target-with-escapes": "GET /%7e/a%2Fb;c=d/?x=%00&y#z HTTP/1.1\r\nHost: a\r\n\r\n",
    }
    for name, head in heads.items():
        write("request_head", name, struct.pack(">H", 8192) + head.encode("latin-1"))
    write("request_head", "exactly-at-the-limit", struct.pack(">H", len(good) + 2) + good.encode() + b"\r\n")
    write("request_head", "over-the-limit", struct.pack(">H", len(good)) + good.encode() + b"\r\n")
    tls = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(64))
    write("request_head", "tls-client-hello", struct.pack(">H", 8192) + tls)


def config() -> None:
    folder = CORPUS / "config"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(HERE.parent.parent / "gateway" / "tidegate.toml", folder / "every-key")
    texts = {
        "empty": "",
        "first": 'memory = "2GiB"\n[[listener]]\naddress = "0.0.0.0:8080"\n'
        'stack = "log!ws?ping=25s&pong=10s!tcp?sndbuf=128KiB"\n\n[[route]]\npath = "/echo"\n'
        'handler = "echo"\nmax_message = "1MiB"\n\n[[route]]\npath = "/"\nhandler = "static"\n',
        "patterns": "".join(
            f'[[route]]\npath = "{path}"\nhandler = "echo"\n'
            for path in ["/", "/rooms/{room}", "/rooms/{room}/x", "/files/{*rest}", "/a{b}c", "/{{x}}"]
        ),
        "patterns-that-clash": "".join(
            f'[[route]]\npath = "{path}"\nhandler = "echo"\n' for path in ["/a/{b}", "/a/{c}", "/a/{*d}", "/a/{b}"]
        ),
        "subprotocols": '[[route]]\npath = "/"\nhandler = "echo"\nsubprotocol = "chat"\n'
        '[[route]]\npath = "/"\nhandler = "echo"\nsubprotocol = "chat"\n',
        "wrong-in-many-places": 'shards = 0\npin = 1\nlog = "=="\nmemory = "1KB"\ndrain = "-1s"\n'
        "drain_rate = 1e9\n[limits]\nconnections = 3\nreceive_buffers = 1000\nblocks = 1\n"
        '[[listener]]\naddress = "nowhere"\nstack = "ws!ws?ping=0s&&x!tls"\n[[route]]\nhandler = "hub"\n',
        "not-toml": "[[listener]\naddress = 'a\nb = [1, 2\n",
        "inline": 'limits = { connections = 64, staging = "64KiB" }\nlistener = [{ address = "[::1]:1" }]\n',
        "table-for-list": '[listener]\naddress = "127.0.0.1:1"\n[route]\npath = "/"\n',
        "types": 'shards = "many"\npin = "yes"\nlimits = 3\nlistener = "x"\nroute = [1, {}]\nmemory = 1979-05-27\n',
        "not-known": 'listeners = []\n[limit]\n[limits]\nconnection = 7\n[[route]]\npaht = "/"\n',
        "deep": "a = " + "[" * 100 + "]" * 100 + "\n",
        "dotted": 'limits.connections = 100\nlimits.blocks = "4MiB"\nroute = [{path="/é", handler="echo"}]\n',
        "carriage-returns": 'shards = 2\r\n[[listener]]\r\naddress = "127.0.0.1:1"\r\nstack = "tcp"\r\n',
    }
    for name, text in texts.items():
        write("config", name, text.encode())


def commands() -> None:
    """Commands of `tidegate.v1`, and patterns with a topic and a user."""
    said = {
        "ping": '{"type":"ping","id":8}',
        "subscribe-since": '{"type":"subscribe","id":1,"topic":"rooms/two","since":"00c0ffee:17","resume":"eyJ0"}',
        "subscribe-last": '{"type":"subscribe","id":4294967295,"topic":"rooms/\\u0061","last":50}',
        "unsubscribe": '{"type":"unsubscribe","topic":"é"}',
        "publish-text": '{"type":"publish","id":4,"topic":"a","text":"\\n\\ud83d\\ude00","key":"k","idempotency_key":"i"}',
        "publish-json": '{"type":"publish","json": {"x" : [1, null, 1e400]} }',
        "publish-json-null": '{"type":"publish","json":null}',
        "publish-binary": '{"type":"publish","id":0,"binary":"/wE="}',
        "presence": '{"type":"presence","id":6,"topic":"a","limit":1000}',
        "refresh": '{"type":"refresh","id":7,"token":"eyJhbGciOiJIUzI1NiJ9.e30.x"}',
        "history": '{"type":"history","id":7,"topic":"a","since":"00000001:18446744073709551615","limit":1}',
        "two-pasts": '{"type":"history","id":7,"topic":"a","since":"00000001:1","last":1}',
        "surrogate": '{"type":"publish","text":"\\ud800"}',
        "twice": '{"type":"ping","id":1,"id":1}',
        "unknown": '{"type":"dance","id":1,"steps":2}',
        "deep": '{"type":"publish","json":' + "[" * 127 + "]" * 127 + "}",
        "too-deep": '{"type":"publish","json":' + "[" * 128 + "]" * 128 + "}",
    }
    for name, text in said.items():
        write("commands", f"command-{name}", b"\0" + text.encode())
    patterns = {
        "literal": ("rooms/lobby", "rooms/lobby"),
        "star": ("rooms/*", "rooms/a"),
        "stars": ("a*b*c/*", "aäbbäc/x"),
        "rest": ("rooms/**", "rooms/a/b"),
        "all": ("**", "a/b"),
        "user": ("users/{user}/*", "users/ann/inbox", "ann"),
        "user-with-a-slash": ("users/{user}", "users/a/b", "a/b"),
        "user-before-a-slash": ("users/{user}", "users/a", "a/b"),
        "user-twice": ("*{user}{user}", "xannann", "ann"),
        "user-like-a-pattern": ("users/{user}", "users/ann", "*"),
        "three-stars": ("a/***", "a/b"),
        "brace": ("{user", "a"),
    }
    for name, parts in patterns.items():
        write("commands", f"pattern-{name}", b"\1" + "\n".join(parts).encode())


def lines() -> None:
    """The line echo; two bytes say how it is cut, and which sends fall short."""
    longest = b"x" * 1000
    streams = {
        "nothing": b"",
        "one": b"one\n",
        "empty": b"\n\n\n",
        "half": b"one\nhalf",
        "longest": longest + b"\n" + longest + b"\n",
        "too-long": longest + b"x\nbehind\n",
        "too-long-and-no-end": longest * 3,
        "questions": b"?\na\n?\n\n?\n",
        "end": b"one\n.\nbehind\n",
        "no-end": b"..\n.x\n .\n?\n.",
        "longest-half": longest,
        "many": b"\n".join(b"%d" % at for at in range(500)) + b"\n.\n",
    }
    for name, stream in streams.items():
        for cut, short in ((0, 0), (5, 2), (4, 1)):
            write("lines", f"{name}-{cut}-{short}", bytes([cut, short]) + stream)


def crc32c(data: bytes) -> int:
    """Bit by bit, unlike what is tested."""
    rest = 0xFFFFFFFF
    for byte in data:
        rest ^= byte
        for _ in range(8):
            rest = rest >> 1 ^ (0x82F63B78 if rest & 1 else 0)
    return rest ^ 0xFFFFFFFF


def proxy() -> None:
    """Headers of the PROXY protocol, and what comes instead of them."""
    lines = {
        "tcp4": "TCP4 192.168.0.1 192.168.0.11 56324 443",
        "tcp4-longest": "TCP4 255.255.255.255 255.255.255.255 65535 65535",
        "tcp6": "TCP6 2001:db8::1 ::1 0 1",
        "tcp6-longest": "TCP6 " + "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff " * 2 + "65535 65535",
        "tcp6-mapped": "TCP6 ::ffff:192.0.2.1 ::ffff:192.0.2.2 56324 443",
        "unknown": "UNKNOWN",
        "unknown-with-a-rest": "UNKNOWN ffff:: ffff:: 65535 65535",
        "unknown-and-more": "UNKNOWNS",
        "unknown-with-a-line-feed": "UNKNOWN a\nb",
        "line-too-long": "UNKNOWN " + "x" * 92,
        "port-with-a-sign": "TCP4 192.0.2.1 192.0.2.2 +1 2",
        "port-with-a-zero": "TCP4 192.0.2.1 192.0.2.2 1 02",
        "address-with-a-zero": "TCP4 192.0.2.01 192.0.2.2 1 2",
        "two-spaces": "TCP4 192.0.2.1  192.0.2.2 1 2",
        "too-few-fields": "TCP4 192.0.2.1 192.0.2.2 1",
    }
    for name, line in lines.items():
        write("proxy", f"1-{name}", f"PROXY {line}\r\n".encode())
    write("proxy", "1-a-tab", b"PROXY\tTCP4 192.0.2.1 192.0.2.2 1 2\r\n")
    write("proxy", "1-line-feed-alone", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n")
    write("proxy", "1-half", b"PROXY TCP6 2001:db8::1 2001:db8:")
    write("proxy", "1-twice", b"PROXY UNKNOWN\r\nPROXY UNKNOWN\r\n")

    def header(command: int, family: int, rest: bytes) -> bytes:
        return b"\r\n\r\n\0\r\nQUIT\n" + struct.pack(">BBH", command, family, len(rest)) + rest

    def tlv(number: int, value: bytes) -> bytes:
        return struct.pack(">BH", number, len(value)) + value

    four = bytes([192, 0, 2, 1, 192, 0, 2, 2]) + struct.pack(">HH", 56324, 443)
    tls = b"\x07\0\0\0\0" + tlv(0x21, b"TLSv1.3") + tlv(0x22, "Jö".encode()) + tlv(0x23, b"TLS_AES_128_GCM_SHA256")
    all_tlvs = tlv(1, b"http/1.1") + tlv(2, b"gw.example.org") + tlv(5, bytes(128)) + tlv(0x20, tls) + tlv(0x30, b"blue")
    headers = {
        "tcp4": (0x21, 0x11, four),
        "tcp6": (0x21, 0x21, bytes(range(36))),
        "udp4": (0x21, 0x12, four),
        "unix": (0x21, 0x31, b"/run/client".ljust(108, b"\0") + b"\0abstract".ljust(108, b"\0")),
        "unix-with-bytes-behind-a-path": (0x21, 0x31, b"/a\0b".ljust(108, b"\xff") + bytes(108)),
        "unspecified": (0x21, 0x00, tlv(2, b"a")),
        "local": (0x20, 0x00, b""),
        "local-with-a-family": (0x20, 0x11, b"\x01"),
        "tlvs": (0x21, 0x11, four + all_tlvs),
        "tlvs-of-clouds": (0x21, 0x11, four + tlv(0xEA, b"\x01vpce-08d2bf15fac5001c9") + tlv(0xEE, b"\x01\1\2\3\4")),
        "tlv-twice": (0x21, 0x11, four + tlv(2, b"a") + tlv(2, b"b")),
        "tlv-cut": (0x21, 0x11, four + tlv(2, b"abc")[:-1]),
        "tlv-not-utf8": (0x21, 0x11, four + tlv(2, b"\xff")),
        "tls-cut": (0x21, 0x11, four + tlv(0x20, tls[:-1])),
        "checksum-wrong": (0x21, 0x11, four + tlv(3, b"abcd")),
        "unique-id-too-long": (0x21, 0x11, four + tlv(5, bytes(129))),
        "too-short": (0x21, 0x21, four),
        "too-long": (0x21, 0x11, four + tlv(4, bytes(506))),
        "version-1": (0x11, 0x11, four),
        "command-2": (0x22, 0x11, four),
        "family-4": (0x21, 0x41, four),
    }
    for name, (command, family, rest) in headers.items():
        write("proxy", f"2-{name}", header(command, family, rest))
    unsummed = header(0x21, 0x11, four + all_tlvs + tlv(3, bytes(4)))
    write("proxy", "2-checksum", unsummed[:-4] + struct.pack(">I", crc32c(unsummed)))
    write("proxy", "2-half", header(0x21, 0x11, four)[:20])
    write("proxy", "http", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    write("proxy", "tls", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")


def tokens() -> None:
    """First which of three: a token as it is sent (0), its claims (1), its header and its claims (2)."""
    header = "eyJhbGciOiJIUzI1NiJ9"
    sent = {
        "three-parts": f"{header}.eyJzdWIiOiJhIiwiZXhwIjo5fQ.AAAA",
        "unsigned": "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.",
        "two-parts": f"{header}.e30",
        "four-parts": f"{header}.e30.AAAA.AAAA",
        "no-base64": "a.b!.c",
        "empty": "",
        "dots": "...",
    }
    for name, text in sent.items():
        write("tokens", f"sent-{name}", b"\0" + text.encode())
    claims = {
        "plain": '{"exp":4102444800,"sub":"ada"}',
        "topics": '{"exp":4102444800,"sub":"ada","subscribe":["rooms/*","{user}/**"],"publish":"news"}',
        "number": '{"exp":4102444800,"sub":7}',
        "fraction": '{"exp":4102444800.5,"sub":"ada","nbf":1.5}',
        "huge": '{"exp":1e300,"sub":"ada"}',
        "negative": '{"exp":-1,"sub":"ada"}',
        "twice": '{"exp":1,"exp":2,"sub":"ada","sub":"bob"}',
        "audience": '{"exp":4102444800,"sub":"ada","aud":["x"]}',
        "nobody": '{"exp":4102444800}',
        "control": '{"exp":4102444800,"sub":"a\\u0000"}',
        "nulls": '{"exp":null,"sub":null,"subscribe":null}',
        "list": "[]",
        "text": "x",
    }
    for name, text in claims.items():
        write("tokens", f"claims-{name}", b"\1" + text.encode())
    headers = {
        "plain": '{"alg":"HS256"}',
        "critical": '{"alg":"HS256","crit":["exp"]}',
        "other": '{"alg":"RS256"}',
        "longer": '{"alg":"HS512"}',
        "none": '{"alg":"none"}',
        "key": '{"alg":"HS256","kid":"a","jku":"https://a/","jwk":{"kty":"oct","k":"AA"}}',
    }
    body = claims["plain"].encode()
    for name, text in headers.items():
        write("tokens", f"header-{name}", b"\2" + struct.pack(">H", len(text)) + text.encode() + body)


frames()
deflate()
request_head()
config()
commands()
lines()
proxy()
tokens()
