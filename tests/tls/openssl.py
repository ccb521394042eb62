"""Talks to the gateway through `openssl s_client`, as an operator does who asks what it speaks.

    openssl.py FOLDER modern=PORT compatible=PORT required=PORT optional=PORT

Exit code 0 and one line if every check passed, 1 and a line for each that did not, 2 for a wrong
call.
"""

import os
import selectors
import subprocess
import time

import trials
from trials import ANSWER_SECONDS, Refused, answer_frame, expect, expect_within, text_frame

# Descriptions of alerts (RFC 8446 section 6).
HANDSHAKE_FAILURE, CERTIFICATE_EXPIRED, UNKNOWN_CA = 40, 45, 48
PROTOCOL_VERSION, CERTIFICATE_REQUIRED, NO_APPLICATION_PROTOCOL = 70, 116, 120

SUITES = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"]
SUITES_OF_1_2 = [
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
]
# What no server should take any more.
OLD_SUITES = ["ECDHE-ECDSA-AES128-SHA", "AES128-GCM-SHA256:AES128-SHA", "DHE-RSA-AES128-GCM-SHA256"]


class Client:
    """One `s_client`, which takes commands as a terminal would."""

    def __init__(self, port: int, *options: str):
        call = [
            "openssl",
            "s_client",
            "-connect",
            f"127.0.0.1:{port}",
            "-CAfile",
            FOLDER + "/ca.pem",
            *options,
        ]
        if "-servername" not in options and "-noservername" not in options:
            call += ["-servername", "localhost"]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(call, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT)
        os.set_blocking(self.process.stdout.fileno(), False)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.process.stdout, selectors.EVENT_READ)
        self.output, self.has_ended = b"", False

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    def hear(self, wanted: bytes | None, since: int = 0) -> None:
        """Waits for `wanted` in what it says behind `since`; `None`: for its end."""
        deadline = time.monotonic() + ANSWER_SECONDS
        while wanted is None or wanted not in self.output[since:]:
            if self.has_ended and wanted is None:
                return
            if self.has_ended or not self.selector.select(max(0, deadline - time.monotonic())):
                state = "ended" if self.has_ended else "waits"
                raise Refused(
                    f"s_client {state} and said no {wanted!r}"[:200] + f": {self.text()[-300:]!r}"
                )
            more = self.process.stdout.read()
            self.output += more or b""
            self.has_ended = not more

    def say(self, said: bytes) -> None:
        try:
            self.process.stdin.write(said)
            self.process.stdin.flush()
        except BrokenPipeError as error:
            self.hear(None)
            raise Refused(f"s_client has ended: {self.text()[-300:]!r}") from error

    def opens(self) -> None:
        self.say(trials.REQUEST)
        self.hear(b"HTTP/1.1 101 ")
        self.hear(b"\r\n\r\n")

    def echoes(self, text: str) -> None:
        since = len(self.output)
        self.say(text_frame(text))
        self.hear(answer_frame(text), since)

    def commands(self, letter: str, answer: str) -> None:
        since = len(self.output)
        self.say(letter.encode() + b"\n")
        self.hear(answer.encode(), since)

    def ends(self) -> str:
        """The client takes its leave; what it has said meanwhile."""
        self.say(b"Q\n")
        self.hear(None)
        return self.text()

    def text(self) -> str:
        return self.output.decode(errors="replace")


def served(port: int, *options: str, says: tuple[str, ...] = ()) -> str:
    """It echoes, and `s_client` says all of that."""
    with Client(port, *options) as client:
        client.opens()
        client.echoes("over TLS")
        text = client.ends()
    expect_within("s_client", text, "Verify return code: 0 (ok)")
    for wanted in says:
        expect_within("s_client", text, wanted)
    return text


def refused(port: int, alert: int, *options: str) -> None:
    """It is ended by the alert, before or behind the end of the handshake."""
    with Client(port, *options) as client:
        try:
            client.opens()
        except Refused:
            pass
        else:
            raise Refused("it was served")
        client.hear(None)
        expect_within("s_client", client.text(), f"SSL alert number {alert}\n")


def shows(certificate: str, *options: str) -> None:
    with Client(PORTS["modern"], *options) as client:
        client.hear(b"subject=")
        client.hear(b"issuer=")
        expect_within("s_client", client.text(), f"subject=CN = {certificate}\n")


def updates_keys() -> None:
    """`K` also asks the gateway for new keys of its own, `k` does not; `-msg` shows its answers."""
    asked = 0
    with Client(PORTS["modern"], "-tls1_3", "-msg") as client:
        client.opens()
        for turn in range(12):
            client.echoes(f"before {turn}")
            letter = "K" if turn % 3 else "k"
            asked += letter == "K"
            client.commands(letter, "KEYUPDATE")
            client.echoes(f"behind {turn} {'long ' * 200}")
            answers = client.text().count("<<< TLS 1.3, Handshake [length 0005], KeyUpdate")
            expect(f"new keys of the gateway's by turn {turn}", answers, asked)


def resumes(port: int, version: str, *options: str) -> None:
    session = f"{FOLDER}/session"
    text = served(port, "-sess_out", session, *options, says=(f"New, {version}",))
    for _ in range(2):
        text = served(
            port, "-sess_in", session, "-sess_out", session, *options, says=(f"Reused, {version}",)
        )
    if version == "TLSv1.3":
        expect(
            "early data in sessions",
            "Max Early Data: 0" in text and "Max Early Data: 1" not in text,
            True,
        )


def session_of_others() -> None:
    """A session without a certificate opens no listener that wants one."""
    session = f"{FOLDER}/session"
    for of in ("modern", "optional"):
        served(PORTS[of], "-sess_out", session)
        refused(PORTS["required"], CERTIFICATE_REQUIRED, "-sess_in", session)


def renegotiation() -> None:
    """RFC 9325 section 3.5: a client that wants to renegotiate is not followed, and is closed."""
    with Client(PORTS["compatible"], "-tls1_2") as client:
        client.opens()
        client.say(b"R\n")
        client.hear(b"RENEGOTIATING")
        client.hear(None)
        expect_within("s_client", client.text(), "no renegotiation")


def versions(check, name: str) -> None:
    """What both listeners speak, and neither."""
    port = PORTS[name]
    says = ("New, TLSv1.3", "Peer signature type: ECDSA")
    check(f"{name}: by default", served, port, says=says)
    check(f"{name}: 1.3", served, port, "-tls1_3", "-verify_hostname", "localhost", says=says)
    for version in ("-tls1", "-tls1_1"):
        options = (version, "-cipher", "DEFAULT@SECLEVEL=0")
        # That the hello lacks what those of TLS 1.2 have is seen before its version is.
        check(f"{name}: {version}", refused, port, HANDSHAKE_FAILURE, *options)
    for suite in SUITES:
        says = (f"New, TLSv1.3, Cipher is {suite}",)
        check(f"{name}: {suite}", served, port, "-tls1_3", "-ciphersuites", suite, says=says)
    for group in ("X25519", "P-256"):
        check(f"{name}: group {group}", served, port, "-groups", group)
    check(f"{name}: group P-521", refused, port, HANDSHAKE_FAILURE, "-groups", "P-521")


def version_1_2(check) -> None:
    check("modern: 1.2", refused, PORTS["modern"], PROTOCOL_VERSION, "-tls1_2")
    port = PORTS["compatible"]
    check("compatible: 1.2", served, port, "-tls1_2", says=("New, TLSv1.2",))
    other = ("-servername", "other.test", "-verify_hostname", "other.test")
    says = ("New, TLSv1.2, Cipher is ECDHE-RSA",)
    check("compatible: 1.2 and RSA", served, port, "-tls1_2", *other, says=says)
    for suite in SUITES_OF_1_2:
        says = (f"New, TLSv1.2, Cipher is {suite}",)
        check(f"compatible: {suite}", served, port, "-tls1_2", "-cipher", suite, says=says)
    for suite in OLD_SUITES:
        options = ("-tls1_2", "-cipher", suite + ":@SECLEVEL=0")
        check(f"compatible: {suite}", refused, port, HANDSHAKE_FAILURE, *options)


def names(check) -> None:
    """The certificate is that of the name; where there is none of it, the first."""
    for certificate, name in [
        ("gateway.test", "localhost"),
        ("gateway.test", "a.gateway.test"),
        ("gateway.test", "A.Gateway.TEST"),
        ("other.test", "other.test"),
        ("gateway.test", "unknown.test"),
        ("gateway.test", "a.b.gateway.test"),
    ]:
        check(f"name {name}", shows, certificate, "-servername", name)
    check("no name", shows, "gateway.test", "-noservername")


def protocols(check) -> None:
    """Those of ALPN (RFC 7301)."""
    port = PORTS["modern"]
    says = ("ALPN protocol: http/1.1",)
    check("ALPN http/1.1", served, port, "-alpn", "h2,http/1.1", says=says)
    check("ALPN h2 alone", refused, port, NO_APPLICATION_PROTOCOL, "-alpn", "h2")
    check("no ALPN", served, port, says=("No ALPN negotiated",))


def run() -> None:
    version = subprocess.run(["openssl", "version"], capture_output=True, text=True).stdout
    all_trials = trials.Trials(" ".join(version.split()[:2]))
    check = all_trials.check
    for name in ("modern", "compatible"):
        versions(check, name)
    version_1_2(check)
    names(check)
    protocols(check)
    client_certificates(check)
    check("key updates", updates_keys)
    check("1.3 resumed", resumes, PORTS["modern"], "TLSv1.3", "-tls1_3")
    check("1.2 resumed", resumes, PORTS["compatible"], "TLSv1.2", "-tls1_2")
    check("resumed with a certificate", resumes, PORTS["required"], "TLSv1.3", *shown("client"))
    check("sessions of others", session_of_others)
    check("renegotiation", renegotiation)
    all_trials.end()


def shown(name: str) -> tuple[str, ...]:
    return ("-cert", f"{FOLDER}/{name}.pem", "-key", f"{FOLDER}/{name}.key")


def client_certificates(check) -> None:
    required, optional = PORTS["required"], PORTS["optional"]
    check("required and shown", served, required, *shown("client"))
    check("required and not shown", refused, required, CERTIFICATE_REQUIRED)
    check("optional and shown", served, optional, *shown("client"))
    check("optional and not shown", served, optional)
    for name, port in (("required", required), ("optional", optional)):
        check(f"{name} and of others", refused, port, UNKNOWN_CA, *shown("foreign"))
        check(f"{name} and expired", refused, port, CERTIFICATE_EXPIRED, *shown("expired"))
    check("not asked for and shown", served, PORTS["modern"], *shown("client"))


FOLDER, PORTS = trials.called(__doc__)
run()
