"""Clients of Tidegate's hub for asyncio, and its HTTP API.

    async with connect("ws://127.0.0.1:8080/rooms/lobby") as client:
        room = client.room()                    # the route's own topic; room("NAME") for others
        await room.publish("hello")             # its place among all messages, once it has one
        async for told in room:                 # a Message, or a Gap
            print(told)

    admin = Admin("http://127.0.0.1:8081")
    admin.publish({"x": 1}, topic="rooms/lobby")

A client comes back by itself after a cut and is told what it missed of each room, or a `Gap`. Messages of
a room come in order, and none twice. The protocol is in proto/CLIENT.md. Needs Python 3.10 and
`websockets` 14 or newer; `Admin` needs Python alone.
"""

from __future__ import annotations

import asyncio
import base64
import inspect
import json
import logging
import random
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "Admin", "Client", "End", "Gap", "Message", "Room", "State", "TidegateError", "connect",
]

PROTOCOL = "tidegate.v1"
OPENING_SECONDS = 15        # from the start of an attempt to `hello`
QUIET_SECONDS = 25          # then a Ping is sent
PONG_SECONDS = 10           # then the connection is lost
STEADY_SECONDS = 30         # open for so long, and the next wait is a short one again
UNREAD_MAX = 1000           # messages that an iteration may lag behind
EVENT_BYTES_MAX = 16 << 20
FINAL = frozenset({1000, 1002, 1003, 1007, 1008, 1010})
AGAIN = frozenset({"busy", "too_many_commands"})
LATER = frozenset({"full", "too_many_subscriptions"})
ANSWERS = frozenset({"published", "members", "history", "refreshed", "pong"})
RENEW_AT = 0.8              # of a token's time, another one is asked for

log = logging.getLogger("tidegate")


class TidegateError(Exception):
    """`code` is one of the protocol's, or `queue_full`, `timeout` (it may be published or not),
    `closed`, `too_slow`; of `Admin` also `unreachable`. `status` is the HTTP status, if there is one."""

    def __init__(self, code: str, message: str, status: int | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status
        self.topic: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """Something that was published, or, without a topic, was sent to the connection, its user or all (`to`).

    `data` is a str, bytes, or what the JSON stands for. Neither `user` nor `connection` is there if a
    system behind the gateway has published it."""

    data: Any
    time: str
    topic: str | None = None
    epoch: str | None = None
    offset: int | None = None
    user: str | None = None
    connection: str | None = None
    to: str | None = None


@dataclass(frozen=True, slots=True)
class Gap:
    """Messages of this topic, in front of the next one, are lost to this client."""

    topic: str


@dataclass(frozen=True, slots=True)
class End:
    """How a connection, or an attempt to open one, ended. `word` is what `reason` begins with; `opened` says
    whether it was open; `why` is all of that for people."""

    why: str
    code: int | None = None
    reason: str = ""
    opened: bool = False
    come_back: bool = True

    @property
    def word(self) -> str:
        return self.reason.replace(":", " ").split(" ")[0]


@dataclass(frozen=True, slots=True)
class State:
    """`name` is connecting, open, waiting or closed; `end` is there in the last two, `wait` (seconds) in
    waiting."""

    name: str
    end: End | None = None
    wait: float = 0.0


@dataclass(slots=True, eq=False)
class _Asked:
    command: dict[str, Any]
    answer: asyncio.Future[dict[str, Any]] | None
    room: Room | None = None
    since: float = field(default_factory=time.monotonic)
    after: float = 0.0
    tries: int = 0
    size: int = 0

    @property
    def own(self) -> bool:
        """Of the client itself: it is not kept over a cut."""
        return self.answer is None


class _Emitter:
    def __init__(self) -> None:
        self._handlers: dict[str, list[Callable[[Any], object]]] = {}

    def on(self, name: str, handler: Callable[[Any], object]) -> Callable[[], None]:
        """Calls the handler with each event of this name. Returns what takes it off again."""
        self._handlers.setdefault(name, []).append(handler)
        return lambda: self._handlers[name].remove(handler)

    def _emit(self, name: str, event: Any) -> None:
        for handler in list(self._handlers.get(name, ())):
            try:
                handler(event)
            except Exception:
                log.exception("a handler of %r has failed", name)


def _encode(content: Any) -> dict[str, Any]:
    if isinstance(content, str):
        return {"text": content}
    if isinstance(content, (bytes, bytearray, memoryview)):
        return {"binary": base64.b64encode(content).decode()}
    return {"json": content}


def _message(told: Mapping[str, Any], **more: Any) -> Message:
    data = told.get("text", told.get("json"))
    if "binary" in told:
        data = base64.b64decode(told["binary"])
    known = {name: told[name] for name in
             ("topic", "epoch", "offset", "user", "connection", "to") if name in told}
    return Message(data=data, time=told["time"], **{**known, **more})


def _member(told: Mapping[str, Any]) -> tuple[str, str]:
    return ("user", told["user"]) if "user" in told else ("connection", told["connection"])


class Room(_Emitter):
    """A topic. Iterate over it, or set handlers for `message`, `gap`, `subscribed`, `replayed`, `join`,
    `leave`, `presence`, `unsubscribed` and `error`. What is set before the loop runs on misses nothing."""

    def __init__(self, client: Client, topic: str, since: str | None, last: int | None) -> None:
        super().__init__()
        self.client = client
        #: "" for the route's own, until the gateway has said it.
        self.topic = topic
        #: Whether it is subscribed now.
        self.live = False
        #: Who is there; None where no presence is kept, or more are there than are told.
        self.members: list[dict[str, str]] | None = None
        self.total: int | None = None
        self._last = last
        self._epoch, self._offset = None, 0
        if since:
            self._epoch, offset = since.split(":")
            self._offset = int(offset)
        self._again = False
        self._resume: str | None = None
        self._resumed_at = 0.0
        self._try_at: float | None = None
        # It has asked for what it missed: what is told before the answer comes again behind it.
        self._awaits = False

    @property
    def position(self) -> str | None:
        """`EPOCH:OFFSET` of what was heard last, to go on from in another process."""
        return f"{self._epoch}:{self._offset}" if self._epoch else None

    async def publish(self, content: Any, *, key: str | None = None,
                      idempotency_key: str | None = None) -> dict[str, Any]:
        """Publishes a str, bytes, or anything that JSON has; returns once the gateway has it. A TypeError or
        ValueError says that JSON has no such thing."""
        return await self.client._publish(content, self, key, idempotency_key)

    async def history(self, *, since: str | None = None, last: int | None = None,
                      limit: int | None = None) -> tuple[list[Message], str | None]:
        """What is kept, and from where to ask on (`since`) if there is more behind that."""
        told = await self.client._ask(
            {"type": "history", "since": since, "last": last, "limit": limit}, self)
        place = {"topic": told["topic"], "epoch": told["epoch"]}
        more = f"{told['epoch']}:{told['next']}" if "more" in told else None
        return [_message(one, **place) for one in told["messages"]], more

    async def presence(self, limit: int | None = None) -> dict[str, Any]:
        """`total` and `members`. If these are all, they are known from here on."""
        told = await self.client._ask({"type": "presence", "limit": limit}, self)
        if len(told["members"]) == told["total"]:
            self._present(told)
        return told

    def leave(self) -> None:
        self.client._left(self, None)

    async def __aiter__(self) -> AsyncIterator[Message | Gap]:
        unread: deque[Any] = deque()
        arrived = asyncio.Event()

        def hear(told: Any) -> None:
            if len(unread) <= UNREAD_MAX:
                unread.append(told)
            arrived.set()

        offs = [self.on(name, hear) for name in ("message", "gap", "unsubscribed", "closed")]
        try:
            while True:
                while not unread:
                    arrived.clear()
                    await arrived.wait()
                if len(unread) > UNREAD_MAX:
                    raise TidegateError("too_slow", f"more than {UNREAD_MAX} are unread")
                told = unread.popleft()
                if not isinstance(told, (Message, Gap)):
                    return
                yield told
        finally:
            for off in offs:
                off()

    @property
    def _past(self) -> dict[str, Any]:
        if self._epoch:
            return {"since": self.position}
        return {"last": self._last} if self._last else {}

    def _tell(self, name: str, told: Any) -> None:
        self._emit(name, told)
        self.client._emit(name, told)

    def _present(self, told: Mapping[str, Any]) -> None:
        members = told.get("members")
        self.members = None if members is None else list(members)
        self.total = told["total"]

    def _hear(self, told: dict[str, Any]) -> None:
        kind = told["type"]
        if "resume" in told:
            self._resume, self._resumed_at = told["resume"], time.monotonic()
        if self._awaits and (kind != "subscribed" or "id" not in told):
            return
        self._awaits = False
        if kind == "message":
            epoch, offset = told.get("epoch"), told.get("offset", 0)
            if epoch:
                if epoch == self._epoch and offset <= self._offset:
                    return
                self._epoch, self._offset = epoch, offset
            self._tell("message", _message(told))
        elif kind == "subscribed":
            self._subscribed(told)
        elif kind == "gap":
            self._tell("gap", Gap(self.topic))
        else:
            if kind == "replayed":
                self._epoch, self._offset = told["epoch"], told["offset"]
            elif kind == "presence":
                self._present({"total": told["total"]})
            elif kind in ("join", "leave"):
                self._come_or_gone(told)
            self._tell(kind, told)

    def _come_or_gone(self, told: dict[str, Any]) -> None:
        come = told["type"] == "join"
        if self.members is None:
            if self.total is not None:
                self.total += 1 if come else -1
            return
        who = _member(told)
        self.members = [one for one in self.members if _member(one) != who]
        if come:
            self.members.append({who[0]: who[1]})
        self.total = len(self.members)

    def _subscribed(self, told: dict[str, Any]) -> None:
        epoch, offset = told.get("epoch"), told.get("offset", 0)
        if "present" in told:
            self._present(told["present"])
        # To one who is subscribed already nothing is told again, and what is told is on its way.
        if self.live:
            return
        self.live = True
        # Of a topic without positions nobody knows what was missed.
        gap = told.get("gap") or (self._again and not epoch)
        self._again = True
        # A position that has yet to come would have what follows taken for heard.
        if epoch == self._epoch and offset < self._offset:
            self._offset = 0
        # While something follows it is not heard yet: after a cut, it is asked for again.
        if epoch and not told.get("replay"):
            self._epoch, self._offset = epoch, offset
        self._tell("subscribed", told)
        if gap:
            self._tell("gap", Gap(self.topic))


Url = str | Callable[[], "str | Awaitable[str]"]
#: A token, or what gives one.
Token = str | Callable[[], str | Awaitable[str]]


class Client(_Emitter):
    """See `connect`. Events: those of its rooms, and `state`, `push`, `room` (one that the gateway has
    entered: its route's own, or one subscribed to from behind it)."""

    def __init__(self, url: Url, *, queue: int, timeout: float, delay: float, delay_max: float,
                 token: Token | None, come_back: Callable[[End], bool | None] | None,
                 options: Mapping[str, Any]) -> None:
        super().__init__()
        self._url = url
        self._bound, self._timeout, self._patience = queue, timeout, timeout
        self._delay, self._delay_max = delay, delay_max
        self._token = token
        # When another one is asked for, and how long this one lasts.
        self._renew_at: float | None = None
        self._token_left = 0.0
        self._renewing: asyncio.Task[None] | None = None
        self._come_back = come_back
        self._options = options
        self.state = State("connecting")
        #: The gateway's first event, while the connection is open.
        self.hello: dict[str, Any] | None = None
        self._rooms: dict[str, Room] = {}       # by topic; the route's own is at ""
        self._own_topic, self._own_path = "", ""
        self._queue: list[_Asked] = []
        self._unanswered: dict[int, _Asked] = {}
        self._id = 0
        self._attempt, self._opened_at = 0, 0.0
        self._task: asyncio.Task[None] | None = None
        self._socket: Any = None                # while it is open
        self._some_left = asyncio.Event()       # something may be sent
        self._closed = False

    async def __aenter__(self) -> Client:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def rooms(self) -> list[Room]:
        return list(self._rooms.values())

    def room(self, topic: str = "", *, since: str | None = None, last: int | None = None) -> Room:
        """The route's own topic, or another that the route lets its clients subscribe to. `since`
        (`EPOCH:OFFSET`) or `last` (1 to 1000) ask for what was published before."""
        own = self._rooms.get("")
        if topic and own and own.topic == topic:
            return own
        if topic in self._rooms:
            return self._rooms[topic]
        room = self._rooms[topic] = Room(self, topic or self._own_topic, since, last)
        if room.topic:
            self._subscribe(room)
        return room

    async def publish(self, content: Any, *, key: str | None = None,
                      idempotency_key: str | None = None) -> dict[str, Any]:
        """On the route's own topic."""
        return await self._publish(content, None, key, idempotency_key)

    async def close(self) -> None:
        """For good. What was not answered fails with the code `closed`."""
        self._close(End("closed by the application", come_back=False))
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _publish(self, content: Any, room: Room | None, key: str | None,
                       idempotency_key: str | None) -> dict[str, Any]:
        return await self._ask({
            "type": "publish", **_encode(content), "key": key,
            "idempotency_key": idempotency_key or str(uuid.uuid4()),
        }, room)

    def _ask(self, command: dict[str, Any], room: Room | None) -> asyncio.Future[dict[str, Any]]:
        # What cannot be said is the caller's, and stops nothing else.
        json.dumps(command, ensure_ascii=False, allow_nan=False).encode()
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        if self._closed or self._task is None:
            why = "the client is closed" if self._closed else "use it by `async with`"
            answer.set_exception(TidegateError("closed", why))
        elif sum(not asked.own for asked in self._queue) >= self._bound:
            answer.set_exception(TidegateError(
                "queue_full", f"{self._bound} commands wait to be sent already"))
        else:
            self._queue.append(_Asked(command, answer, room))
            self._some_left.set()
        return answer

    def _say(self, command: dict[str, Any], room: Room | None = None) -> None:
        """Commands of the client's own go first."""
        if self.hello is None:
            return
        at = max((n for n, asked in enumerate(self._queue) if asked.own), default=-1) + 1
        self._queue.insert(at, _Asked(command, None, room))
        self._some_left.set()

    def _subscribe(self, room: Room) -> None:
        # Of one that is live the token is renewed: it has missed nothing.
        past = {} if room.live else room._past
        room._awaits = bool(past)
        self._say({"type": "subscribe", "topic": room.topic, "resume": room._resume, **past}, room)

    def _left(self, room: Room, error: TidegateError | None) -> None:
        key = "" if self._rooms.get("") is room else room.topic
        if self._rooms.get(key) is not room:
            return
        del self._rooms[key]
        if room.live:
            self._say({"type": "unsubscribe", "topic": room.topic})
        room.live = False
        room._tell("unsubscribed", {"type": "unsubscribed", "topic": room.topic, "error": error})

    def _refused(self, room: Room, error: TidegateError) -> None:
        if room.live or room not in self._rooms.values():
            return
        error.topic = room.topic
        room._tell("error", error)
        if error.code in LATER:
            room._try_at = time.monotonic() + self._delay_max
        else:
            self._left(room, error)

    async def _run(self) -> None:
        while not self._closed:
            self._set(State("connecting"))
            try:
                end = await self._once()
            except asyncio.CancelledError:
                raise
            except Exception as error:
                log.debug("an attempt has failed", exc_info=True)
                end = self._failed(error)
            if self._closed:
                return
            lasted = time.monotonic() - self._opened_at
            self._lost(end.code == 1009)
            asked = self._come_back(end) if self._come_back else None
            if not (end.come_back if asked is None else asked):
                return self._close(end)
            if end.opened and lasted > STEADY_SECONDS:
                self._attempt = 0
            wait = random.uniform(0, min(self._delay_max, self._delay * 2 ** min(self._attempt, 30)))
            self._attempt += 1
            self._set(State("waiting", end, wait))
            await asyncio.sleep(wait)

    def _failed(self, error: Exception) -> End:
        """An attempt, or a connection, has failed by itself."""
        from websockets.exceptions import InvalidStatus, InvalidURI

        opened = self.hello is not None
        if isinstance(error, InvalidStatus):
            answer = error.response
            body = (answer.body or b"")[:200].decode(errors="replace").strip()
            # What begins with 4 is no better the next time, unless there were too many.
            return End(f"refused with {answer.status_code}: {body}", opened=opened,
                       come_back=answer.status_code >= 500 or answer.status_code == 429)
        if isinstance(error, InvalidURI) and not callable(self._url):
            return End(f"that is no URL: {error}", opened=opened, come_back=False)
        return End(f"it did not open: {error!r}", opened=opened)

    async def _once(self) -> End:
        """One connection, until it ends."""
        from websockets.asyncio.client import connect as open_socket
        from websockets.exceptions import ConnectionClosed

        url = self._url() if callable(self._url) else self._url
        if inspect.isawaitable(url):
            url = await asyncio.wait_for(url, OPENING_SECONDS)
        url = self._with_past(url)
        token = await self._a_token()
        headers = dict(self._options.get("additional_headers") or {})
        if token:
            headers["Authorization"] = f"Bearer {token}"
        socket = await open_socket(url, **{
            "subprotocols": [PROTOCOL], "open_timeout": OPENING_SECONDS, "close_timeout": 5,
            "ping_interval": QUIET_SECONDS, "ping_timeout": PONG_SECONDS,
            "max_size": EVENT_BYTES_MAX, **self._options, "additional_headers": headers,
        })
        sending: asyncio.Task[None] | None = None
        try:
            if socket.subprotocol != PROTOCOL:
                return End(f"what answers there does not speak {PROTOCOL}", come_back=False)
            first = json.loads(await asyncio.wait_for(socket.recv(), OPENING_SECONDS))
            self._socket = socket
            self._open(first)
            sending = asyncio.create_task(self._send(socket))
            path = urllib.parse.urlsplit(url).path
            while True:
                text = await socket.recv()
                try:
                    told = json.loads(text)
                except ValueError:
                    # A later one has its position: to end for it would be to hear it for ever.
                    log.warning("an event that cannot be read is passed over: %.100r", text)
                    continue
                self._hear(told, path)
        except ConnectionClosed:
            return _end(socket, self.hello is not None)
        finally:
            self._socket = None
            if sending:
                sending.cancel()
                # What it may have failed with is the connection's end, and no news.
                await asyncio.gather(sending, return_exceptions=True)
            if self._closed:
                await socket.close(1000, "done")
            else:
                socket.transport.abort()

    async def _a_token(self) -> str | None:
        token = self._token() if callable(self._token) else self._token
        return await asyncio.wait_for(token, OPENING_SECONDS) if inspect.isawaitable(token) else token

    def _has_token(self, told: Mapping[str, Any]) -> None:
        """It is told how long the token lasts: in time it asks for another one, if it can."""
        self._token_left = told.get("token_left", 0)
        due = RENEW_AT * self._token_left if callable(self._token) else 0
        self._renew_at = time.monotonic() + due if due else None

    def _renew_later(self) -> None:
        self._renew_at = time.monotonic() + max(1.0, 0.05 * self._token_left)

    async def _renew(self) -> None:
        try:
            token = await self._a_token()
        except Exception:
            log.warning("another token could not be had", exc_info=True)
            return self._renew_later()
        self._say({"type": "refresh", "token": token})

    def _with_past(self, url: str) -> str:
        parts = urllib.parse.urlsplit(url)
        if parts.path != self._own_path:
            self._own_path = ""
        own = self._rooms.get("")
        if own and (not own.topic or self._own_path) and own._past:
            kept = [pair for pair in parts.query.split("&")
                    if pair and pair.split("=")[0] not in ("since", "last")]
            past = [f"{name}={value}" for name, value in own._past.items()]
            parts = parts._replace(query="&".join(kept + past))
        scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
        return urllib.parse.urlunsplit(parts._replace(scheme=scheme))

    def _open(self, hello: dict[str, Any]) -> None:
        if hello.get("type") != "hello":
            raise TidegateError("bad_protocol", "its first event is no `hello`")
        self.hello, self._opened_at = hello, time.monotonic()
        self._patience = min(self._timeout, 0.8 * hello.get("idempotency_age", 0) or self._timeout)
        self._has_token(hello)
        self._set(State("open"))
        for key, room in list(self._rooms.items()):
            if key or (room.topic and not self._own_path):
                self._subscribe(room)
        self._some_left.set()

    def _ready(self) -> _Asked | None:
        now = time.monotonic()
        if self.hello is None or len(self._unanswered) >= self.hello["commands"]:
            return None
        for asked in self._queue:
            named = asked.room is None or asked.room.topic or asked.command["type"] == "publish"
            if asked.after <= now and named:
                return asked
        return None

    async def _send(self, socket: Any) -> None:
        """What may be sent goes out by this socket, while it is the one in use.

        Before Python 3.12 `asyncio.wait_for` may lose a cancellation: without looking at that, a task
        of a connection that has ended would take commands, and send them to nobody."""
        from websockets.exceptions import ConnectionClosed

        while self._socket is socket:
            self._watch()
            while self._socket is socket and (asked := self._ready()):
                self._queue.remove(asked)
                self._id = (self._id + 1) & 0xFFFF_FFFF
                command = {"topic": asked.room.topic or None if asked.room else None, **asked.command}
                told = {name: value for name, value in command.items()
                        if value is not None or name == "json"}
                text = json.dumps({**told, "id": self._id}, ensure_ascii=False, allow_nan=False)
                asked.size = len(text.encode())
                if asked.size > self.hello["max_message"]:
                    _fail(asked, "too_large",
                          f"{asked.size} bytes, of {self.hello['max_message']} at most")
                    continue
                self._unanswered[self._id] = asked
                try:
                    await socket.send(text)
                except ConnectionClosed:
                    return      # `recv` ends for that too, and what is unanswered is sent again
            self._some_left.clear()
            try:
                await asyncio.wait_for(self._some_left.wait(), 1)
            except asyncio.TimeoutError:
                pass

    def _watch(self) -> None:
        now = time.monotonic()
        self._give_up_late()
        if self._renew_at is not None and self._renew_at < now:
            self._renew_at = None
            self._renewing = asyncio.create_task(self._renew())
        renew = 0.4 * self.hello.get("resume_age", 3600) if self.hello else None
        for room in self.rooms:
            if room.live:
                due = room._resume is not None and renew is not None and now - room._resumed_at > renew
            else:
                due = room._try_at is not None and room._try_at < now
            if due:
                room._resumed_at, room._try_at = now, None
                self._subscribe(room)

    def _give_up_late(self) -> None:
        now = time.monotonic()
        for asked in [*self._queue, *self._unanswered.values()]:
            if asked.answer and now - asked.since > self._patience:
                _fail(asked, "timeout", f"no answer for {self._patience} s")
                asked.answer = None     # on its way it still counts, but is not sent again
                if asked in self._queue:
                    self._queue.remove(asked)

    def _hear(self, told: dict[str, Any], path: str) -> None:
        kind, topic = told.get("type"), told.get("topic")
        asked = self._unanswered.pop(told["id"], None) if "id" in told else None
        if kind == "push":
            self._emit("push", _message(told))
        elif kind == "error":
            self._error(told, asked)
        elif kind == "unsubscribed":
            self._unsubscribed(told)
        elif kind == "refreshed":
            self._has_token(told)
        elif topic and kind not in ANSWERS:
            if kind == "subscribed" and "id" not in told:
                self._subscribed_to(topic, "resume" in told, path)
            rooms = [room for room in self.rooms if room.topic == topic]
            for room in rooms:
                room._hear(told)
            # It was left while this was on its way, or its route subscribes to it whenever it opens.
            if kind == "subscribed" and not rooms:
                self._say({"type": "unsubscribe", "topic": topic})
        if kind != "error" and asked and asked.answer and not asked.answer.done():
            asked.answer.set_result(told)
        self._some_left.set()

    def _subscribed_to(self, topic: str, resumes: bool, path: str) -> None:
        """The route's own topic comes first, and without a token; others were made behind the gateway."""
        own = self._rooms.get("")
        known = any(room.topic == topic for room in self.rooms)
        if not resumes and self._own_topic in ("", topic):
            first = not self._own_topic
            self._own_topic, self._own_path = topic, path
            if own:
                own.topic = topic
            elif first and not known:
                self._met("", topic)
        elif not known:
            self._met(topic, topic)

    def _met(self, key: str, topic: str) -> None:
        room = self._rooms[key] = Room(self, topic, None, None)
        self._emit("room", room)

    def _unsubscribed(self, told: dict[str, Any]) -> None:
        for key, room in list(self._rooms.items()):
            if room.topic != told["topic"]:
                continue
            room.live = False
            # With an id it answers `leave`: who has entered anew since then will be subscribed.
            if "id" in told:
                continue
            if key:
                del self._rooms[key]
            room._tell("unsubscribed", told)

    def _error(self, told: dict[str, Any], asked: _Asked | None) -> None:
        error = TidegateError(told["code"], told.get("message", ""))
        if asked is None:
            if "id" not in told:
                self._emit("error", error)
        elif error.code in AGAIN:
            wait = min(self._delay_max, self._delay * 2 ** min(asked.tries, 30))
            asked.after = time.monotonic() + random.uniform(0, wait)
            asked.tries += 1
            self._queue.insert(0, asked)
        elif asked.answer is None:
            if asked.room:
                self._refused(asked.room, error)
            elif asked.command["type"] == "refresh":
                log.warning("another token was not taken: %s", error)
                self._renew_later()
        elif not asked.answer.done():
            asked.answer.set_exception(error)

    def _lost(self, too_large: bool) -> None:
        """What was asked is in front again, in order. Of those on their way, the largest was too large."""
        self.hello = None
        on_their_way = [asked for asked in self._unanswered.values() if not asked.own]
        self._unanswered.clear()
        if too_large and on_their_way:
            largest = max(on_their_way, key=lambda asked: asked.size)
            on_their_way.remove(largest)
            _fail(largest, "too_large", "the connection has ended for it")
        waiting = [asked for asked in self._queue if not asked.own]
        self._queue = sorted(on_their_way + waiting, key=lambda asked: asked.since)
        for room in self.rooms:
            room.live = room._awaits = False
        self._give_up_late()

    def _close(self, end: End) -> None:
        if self._closed:
            return
        self._closed = True
        self._lost(False)
        for asked in self._queue:
            _fail(asked, "closed", end.why)
        self._queue.clear()
        for room in self.rooms:
            room._emit("closed", end)
        self._set(State("closed", end))

    def _set(self, state: State) -> None:
        self.state = state
        self._emit("state", state)


def _fail(asked: _Asked, code: str, why: str) -> None:
    if asked.answer and not asked.answer.done():
        asked.answer.set_exception(TidegateError(code, why))


def _end(socket: Any, opened: bool) -> End:
    code, reason = socket.close_code, socket.close_reason or ""
    word = reason.replace(":", " ").split(" ")[0]
    why = "the connection was lost" if code in (None, 1006) else f"closed with {code} {reason}".strip()
    return End(why, code, reason, opened, code not in FINAL or word == "too_late")


def connect(url: Url, *, queue: int = 100, timeout: float = 240,
            delay: float = 0.5, delay_max: float = 30, token: Token | None = None,
            come_back: Callable[[End], bool | None] | None = None, **options: Any) -> Client:
    """A client, to be used with `async with`.

    url        `ws://…`, or a function that is called before each attempt and may be async: for a token
               that does not last
    queue      commands that may wait to be sent, as while there is no connection
    timeout    seconds that an answer may take, cuts and all; never longer than four fifths of the gateway's
               `hub.idempotency_age`: what is sent again later than that may be published twice
    delay      the wait before an attempt is drawn from 0 to min(delay_max, delay * 2**n) seconds
    token      what lets it in where the route asks for a token (`admission`), or a function that gives it,
               which is called before each attempt and may be async: `Authorization: Bearer TOKEN`. It is
               called as well when four fifths of the time are over that a token has, and what it gives then
               takes the place of that token without a cut
    come_back  whether to come back after this end; if it says None, `end.come_back` holds
    options    for `websockets.asyncio.client.connect`, such as `ssl` or `additional_headers`
    """
    return Client(url, queue=queue, timeout=timeout, delay=delay, delay_max=delay_max, token=token,
                  come_back=come_back, options=options)


class Admin:
    """The gateway's HTTP API. Each call waits for its answer; from asyncio,
    `await asyncio.to_thread(admin.publish, …)`. A failure is a `TidegateError` with the API's code."""

    def __init__(self, url: str = "http://127.0.0.1:8081", token: str | None = None,
                 timeout: float = 15) -> None:
        self._base = url.rstrip("/") + "/v1/"
        self._headers = {"Content-Type": "application/json"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._timeout = timeout
        # The admin address is no web site: what the environment says of proxies is not for it.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def publish(self, content: Any, *, topic: str | None = None, user: str | None = None,
                connection: str | None = None, all: bool = False, **options: Any) -> dict[str, Any]:
        """To exactly one target. `options` are the API's: `key`, `except` (as `except_`),
        `idempotency_key`."""
        target = self._target(topic=topic, user=user, connection=connection, all=all)
        return self._post("publish", {"target": target, **_encode(content), **_plain(options)})

    def batch(self, messages: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
        """Messages with `targets` and one of `text`, `json` and `binary`, as the API has them."""
        return self._post("publish/batch", {"messages": list(messages)})

    def subscribe(self, topic: str, *, user: str | None = None,
                  connection: str | None = None) -> dict[str, Any]:
        return self._post("subscribe", {
            "topic": topic, "target": self._target(user=user, connection=connection)})

    def unsubscribe(self, topic: str, *, user: str | None = None,
                    connection: str | None = None) -> dict[str, Any]:
        return self._post("unsubscribe", {
            "topic": topic, "target": self._target(user=user, connection=connection)})

    def disconnect(self, *, topic: str | None = None, user: str | None = None,
                   connection: str | None = None, code: int | None = None,
                   reason: str | None = None) -> dict[str, Any]:
        target = self._target(topic=topic, user=user, connection=connection)
        return self._post("disconnect", {"target": target, **_plain({"code": code, "reason": reason})})

    def connections(self, **query: Any) -> dict[str, Any]:
        """`topic`, `user`, `limit`, `cursor`."""
        return self._get("connections", query)

    def topics(self, **query: Any) -> dict[str, Any]:
        return self._get("topics", query)

    def presence(self, topic: str, **query: Any) -> dict[str, Any]:
        return self._get("presence", {"topic": topic, **query})

    def history(self, topic: str, **query: Any) -> dict[str, Any]:
        """`epoch` and `offset` (behind which message), `limit`."""
        return self._get("history", {"topic": topic, **query})

    @staticmethod
    def _target(**whom: Any) -> dict[str, Any]:
        target = {name: value for name, value in whom.items() if value not in (None, False)}
        if len(target) != 1:
            raise ValueError(f"exactly one of {', '.join(whom)} must be given")
        return target

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._call(path, json.dumps(body, allow_nan=False).encode())

    def _get(self, path: str, query: Mapping[str, Any]) -> dict[str, Any]:
        pairs = urllib.parse.urlencode(_plain(query))
        return self._call(f"{path}?{pairs}" if pairs else path, None)

    def _call(self, path: str, body: bytes | None) -> dict[str, Any]:
        request = urllib.request.Request(self._base + path, data=body, headers=self._headers)
        try:
            with self._opener.open(request, timeout=self._timeout) as answer:
                text = answer.read()
                return json.loads(text) if text else {}
        except urllib.error.HTTPError as error:
            raise _error_of(error) from None
        except OSError as error:
            raise TidegateError("unreachable", f"{self._base}: {error}") from error


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name.rstrip("_"): value for name, value in options.items() if value is not None}


def _error_of(error: urllib.error.HTTPError) -> TidegateError:
    text = error.read().decode(errors="replace")
    try:
        told = json.loads(text)["error"]
        return TidegateError(told["code"], told["message"], error.code)
    except (ValueError, KeyError, TypeError):
        return TidegateError(f"http_{error.code}", text[:200] or error.reason, error.code)
