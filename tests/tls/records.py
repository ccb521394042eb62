"""A TLS client whose bytes are in our hands: its handshake is done by Python's `ssl`, over buffers,
and its records afterwards are made here (RFC 8446 section 5), right or wrong.
"""

import hashlib
import hmac
import os
import select
import socket
import ssl
import struct
import tempfile
import time

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from trials import ANSWER_SECONDS, Refused

CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, APPLICATION_DATA = 20, 21, 22, 23

# Suites by name: the AEAD, how long its key is in bytes, and the hash.
SUITES = {
    "TLS_AES_128_GCM_SHA256": (AESGCM, 16, "sha256"),
    "TLS_AES_256_GCM_SHA384": (AESGCM, 32, "sha384"),
    "TLS_CHACHA20_POLY1305_SHA256": (ChaCha20Poly1305, 32, "sha256"),
}


def record(kind: int, content: bytes, version: int = 0x0303) -> bytes:
    return struct.pack(">BHH", kind, version, len(content)) + content


class Keys:
    """One direction of an established connection."""

    def __init__(self, suite: str, secret: bytes):
        self.aead, self.size, self.hash = SUITES[suite]
        self.secret = secret
        self.begin()

    def begin(self) -> None:
        self.cipher = self.aead(self.derived(b"key", self.size))
        self.iv, self.sequence = self.derived(b"iv", 12), 0

    def derived(self, label: bytes, size: int) -> bytes:
        """HKDF-Expand-Label (RFC 8446 section 7.1), of which one block is enough."""
        label = b"tls13 " + label
        info = struct.pack(">HB", size, len(label)) + label + b"\0\1"
        return hmac.new(self.secret, info, self.hash).digest()[:size]

    def update(self) -> None:
        self.secret = self.derived(b"traffic upd", hashlib.new(self.hash).digest_size)
        self.begin()

    def nonce(self) -> bytes:
        nonce = int.from_bytes(self.iv, "big") ^ self.sequence
        self.sequence += 1
        return nonce.to_bytes(12, "big")

    def seal(self, kind: int, content: bytes, padding: int = 0) -> bytes:
        return self.seal_inner(content + bytes([kind]) + bytes(padding))

    def seal_inner(self, inner: bytes) -> bytes:
        """What may be no content at all."""
        head = struct.pack(">BHH", APPLICATION_DATA, 0x0303, len(inner) + 16)
        return head + self.cipher.encrypt(self.nonce(), inner, head)

    def open(self, head: bytes, sealed: bytes) -> tuple[int, bytes]:
        inner = self.cipher.decrypt(self.nonce(), sealed, head).rstrip(b"\0")
        return inner[-1], inner[:-1]


class Hands:
    """A connection by TCP, and a client of TLS over it as far as it was let."""

    def __init__(self, folder: str, port: int):
        self.socket = socket.create_connection(("127.0.0.1", port), ANSWER_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""
        context = ssl.create_default_context(cafile=os.path.join(folder, "ca.pem"))
        with tempfile.NamedTemporaryFile(prefix="keys-", dir=folder, delete=False) as log:
            self.log = log.name
        context.keylog_filename = self.log
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.socket.close()
        os.unlink(self.log)

    def send(self, data: bytes, each: int | None = None) -> None:
        """In stretches of `each` bytes."""
        each = each or max(1, len(data))
        for at in range(0, len(data), each):
            self.socket.sendall(data[at : at + each])

    def flight(self) -> bytes:
        """The next one that the client sends; nothing if it waits for more."""
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        return self.outgoing.read()

    def next_record(self) -> tuple[bytes, bytes]:
        """Of the gateway: the head and the rest."""
        while len(self.received) < 5 or len(self.received) < 5 + int.from_bytes(
            self.received[3:5], "big"
        ):
            more = self.socket.recv(65536)
            if not more:
                raise EOFError
            self.received += more
        end = 5 + int.from_bytes(self.received[3:5], "big")
        head, content, self.received = self.received[:5], self.received[5:end], self.received[end:]
        return head, content

    def finish(self, each: int | None = None, split=lambda flight: flight) -> None:
        """The whole handshake, by flights that are cut and split."""
        deadline = time.monotonic() + ANSWER_SECONDS
        while not self.is_established():
            self.send(split(self.flight()), each)
            if not self.is_established():
                head, content = self.next_record()
                self.incoming.write(head + content)
            if time.monotonic() > deadline:
                raise Refused("the handshake takes too long")
        suite = self.tls.cipher()[0]
        with open(self.log) as log:
            secrets = dict(line.split()[::2] for line in log if "TRAFFIC_SECRET_0" in line)
        self.writes = Keys(suite, bytes.fromhex(secrets["CLIENT_TRAFFIC_SECRET_0"]))
        self.reads = Keys(suite, bytes.fromhex(secrets["SERVER_TRAFFIC_SECRET_0"]))

    def is_established(self) -> bool:
        return self.tls.version() is not None and self.tls.cipher() is not None and self.is_done()

    def is_done(self) -> bool:
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        self.send(self.outgoing.read())
        return True

    def is_heard(self) -> bool:
        """Whether something has come, be it the end."""
        return bool(self.received or select.select([self.socket], [], [], 0)[0])

    def hear(self) -> tuple[int, bytes]:
        """The next content that the gateway seals, but for tickets and new keys of its own."""
        while True:
            head, content = self.next_record()
            if head[0] != APPLICATION_DATA:
                return head[0], content
            kind, content = self.reads.open(head, content)
            if kind != HANDSHAKE:
                return kind, content
            if content[0] == 24:
                self.reads.update()

    def end(self, sealed: bool) -> int | None:
        """Waits until the gateway has closed; the alert that it has told before, if any."""
        alert = None
        try:
            while True:
                kind, content = self.hear() if sealed else self.plain()
                if kind == ALERT:
                    alert = content[1]
        except (EOFError, ConnectionResetError):
            return alert

    def plain(self) -> tuple[int, bytes]:
        head, content = self.next_record()
        return head[0], content
