"""The request cases that two packages bring, as bytes, with what their authors say of each.

A verdict is "take" (the request is right), "refuse" (it must not be taken), or "either".
"""

import re
from dataclasses import dataclass
from pathlib import Path

import yaml


# The most bytes of content that are sent of a case that says how many it has.
CONTENT_MAX = 32 << 10


@dataclass(frozen=True)
class Case:
    """One case: `name` is unique, `data` is all that is sent of it."""

    name: str
    data: bytes
    verdict: str


def all_cases(gunicorn: Path, guardian: Path) -> list[Case]:
    """All cases of the unpacked sources of both packages."""
    found = [*of_gunicorn(gunicorn), *of_guardian(guardian)]
    names = [case.name for case in found]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(f"two cases have one name: {sorted(twice)}")
    return found


def of_gunicorn(root: Path):
    """gunicorn: tests/requests/{valid,invalid}/*.http, written out with \\r\\n and the like."""
    for kind, verdict in (("valid", "take"), ("invalid", "refuse")):
        for file in sorted((root / "tests/requests" / kind).glob("*.http")):
            data = unescape(file.read_bytes())
            beside = file.with_suffix(".py").read_text()
            # What is only so with a setting of gunicorn's own says nothing of others.
            verdict_here = "either" if "cfg.set(" in beside else verdict
            name = f"gunicorn/{kind}/{file.stem}"
            yield Case(name, data, verdict_here)
            if b"\r\nhost:" not in data.lower():
                # Most have no Host, which RFC 9112 section 3.2 wants: what is meant shows with one.
                yield Case(f"{name}+host", with_host(data), verdict_here)


def unescape(data: bytes) -> bytes:
    """As gunicorn's own tests/treq.py reads them."""
    data = data.replace(b"\n", b"").replace(b"\\r\\n", b"\r\n")
    data = data.replace(b"\\0", b"\0").replace(b"\\n", b"\n").replace(b"\\t", b"\t")
    return re.sub(rb"\\x([0-9a-fA-F]{2})", lambda found: bytes([int(found[1], 16)]), data)


def with_host(data: bytes) -> bytes:
    line, separator, rest = data.partition(b"\r\n")
    return line + separator + b"Host: localhost\r\n" + rest if separator else data


def of_guardian(root: Path):
    """http_desync_guardian: tests/*.yaml, whose requests are heads in parts."""
    verdicts = {"Compliant": "take", "Acceptable": "either"}
    for file in sorted((root / "tests").glob("*.yaml")):
        for number, case in enumerate(yaml.safe_load(file.read_text()) or []):
            verdict = verdicts.get(case["expected"]["tier"], "refuse")
            yield Case(f"guardian/{file.stem}/{number:02}", head_of(case), verdict)


def head_of(case: dict) -> bytes:
    """The bytes of one of those, with a Host if it has none, and content as its headers have it."""
    version = case.get("version") or ""
    line = f"{case['method']} {case['uri']}" + (f" {version}" if version else "")
    # YAML has numbers where a value is written without quotes.
    text = lambda value: "" if value is None else str(value)
    headers = [(text(one["name"]), text(one["value"])) for one in case.get("headers") or []]
    if not any(name.strip().lower() == "host" for name, _ in headers):
        headers.insert(0, ("Host", "localhost"))
    lines = [line, *(f"{name}: {value}" for name, value in headers)]
    head = "\r\n".join(lines) + "\r\n\r\n"
    if any(re.search("transfer.*encoding", name.lower()) for name, _ in headers):
        content = b"0\r\n\r\n"
    else:
        lengths = [value for name, value in headers if re.search("content.*length", name.lower())]
        number = re.search(r"\d+", lengths[0]) if lengths else None
        content = b"x" * min(int(number[0]), CONTENT_MAX) if number else b""
    return as_bytes(head) + content


def as_bytes(text: str) -> bytes:
    """Letters up to U+00FF are the bytes of their numbers, as the escapes in the files mean them."""
    return b"".join(
        bytes([ord(one)]) if ord(one) < 256 else one.encode() for one in text
    )
