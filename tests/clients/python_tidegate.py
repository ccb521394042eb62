"""tools/python/tidegate.py through restarts of a gateway and cuts of the network, and its HTTP API.

    python3 python_tidegate.py target/release/tidegate [ROUNDS]

Exit code 0 and one line if every check passed, 1 and a line for each that did not, 2 for a wrong call.
"""

import asyncio
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools" / "python"))

from tidegate import Admin, Gap, Message, TidegateError, connect  # noqa: E402

CONFIG = """
shards = 2
log = "warn"

[[topic]]
name = "rooms/{room}"
history = 100000
history_bytes = "16MiB"
history_age = "1h"
presence = true
linger = "0s"

[[route]]
path = "/rooms/{room}"
handler = "hub?topic=rooms/{room}&user=query.user"
subscribe = ["rooms/*"]
publish = ["rooms/*"]

[[route]]
path = "/echo"
handler = "echo"
"""
ROOMS = ("rooms/a", "rooms/b")
SECONDS_MAX = 60
QUICK = {"delay": 0.02, "delay_max": 0.3, "proxy": None}
wrong = []


def complain(text):
    if len(wrong) < 50:
        wrong.append(text)


def expect(what, got, wanted):
    if got != wanted:
        raise AssertionError(f"{what}: got {got!r}, expected {wanted!r}")


async def until(what, holds):
    deadline = time.monotonic() + SECONDS_MAX
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {SECONDS_MAX} s")
        await asyncio.sleep(0.02)


def free_port():
    """Below the ports that the kernel gives to connections that go out."""
    for _ in range(50):
        port = random.randrange(20000, 30000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
    raise AssertionError("there is no free port from 20000 to 29999 on 127.0.0.1")


class Gateway:
    def __init__(self, binary, folder):
        self.port, self.admin_port = free_port(), free_port()
        config = Path(folder, "tidegate.toml")
        config.write_text(CONFIG)
        self.command = [
            binary, "--config", str(config), "--listen", f"127.0.0.1:{self.port}",
            "--admin", f"127.0.0.1:{self.admin_port}",
            "--driver", os.environ.get("TIDEGATE_TEST_DRIVER", "auto"),
        ]
        self.process = None

    async def start(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL)
        for port in (self.port, self.admin_port):
            await until("the gateway serves", lambda: self.serves(port))

    def serves(self, port):
        if self.process.poll() is not None:
            raise AssertionError(f"the gateway does not start: {self.command}")
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    async def end(self, kill=False):
        if self.process is None:
            return
        self.process.kill() if kill else self.process.terminate()
        await asyncio.to_thread(self.process.wait, 40)


class Proxy:
    """TCP on 127.0.0.1, passed on, cut or refused."""

    def __init__(self, port):
        self.far_port = port
        self.refuses = False
        self.writers = set()

    async def start(self):
        self.server = await asyncio.start_server(self.accept, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]

    async def accept(self, reader, writer):
        try:
            if self.refuses:
                return
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.far_port)
            both = {writer, far_writer}
            self.writers |= both
            try:
                await asyncio.gather(self.copy(reader, far_writer, both),
                                     self.copy(far_reader, writer, both))
            finally:
                self.writers -= both
        except OSError:
            pass
        finally:
            writer.transport.abort()

    @staticmethod
    async def copy(reader, writer, both):
        try:
            while piece := await reader.read(1 << 16):
                writer.write(piece)
                await writer.drain()
        finally:
            for each in both:
                each.transport.abort()

    def cut(self):
        for writer in list(self.writers):
            writer.transport.abort()


def listen(client, rooms):
    heard = {topic: [] for topic in ROOMS}
    for room in rooms:
        room.on("message", lambda told: heard[told.topic].append(told))
        room.on("gap", lambda told: heard[told.topic].append(told))
    client.on("error", lambda error: complain(f"{error}"))
    return heard


async def publish_on(client, name, stop):
    """Publishes until it is told to stop; returns what was acknowledged."""
    acknowledged, number = {}, 0

    async def say(topic, content):
        told = await client.room(topic).publish(content)
        acknowledged[told["topic"], told["epoch"], told["offset"]] = content

    pending = set()
    while not stop.is_set():
        await asyncio.sleep(random.uniform(0.001, 0.008))
        if len(pending) < 8:
            number += 1
            pending.add(asyncio.create_task(
                say(random.choice(ROOMS), {"from": name, "number": number})))
        for task in [task for task in pending if task.done()]:
            task.result()
            pending.remove(task)
    await asyncio.wait_for(asyncio.gather(*pending), SECONDS_MAX)
    for topic in ROOMS:
        number += 1
        await say(topic, {"from": name, "number": number})
    return acknowledged


def check_heard(name, heard, acknowledged):
    """Within an epoch each offset from the first, once and in order; before another epoch, a gap."""
    for topic in ROOMS:
        epoch, offset, gap, last = None, 0, True, {}
        for told in heard[topic]:
            if isinstance(told, Gap):
                gap = True
                continue
            where = f"{name}, {topic} at {told.epoch}:{told.offset}"
            if told.epoch != epoch:
                if not gap:
                    complain(f"{where}: another epoch without a gap")
                epoch, offset, last = told.epoch, 0, {}
            if told.offset != offset + 1:
                complain(f"{where}: came behind {offset}")
            offset, gap = told.offset, False
            who, number = told.data["from"], told.data["number"]
            if number <= last.get(who, 0):
                complain(f"{where}: {who} {number} came behind {last[who]}")
            last[who] = number
            if acknowledged.get((topic, told.epoch, told.offset), told.data) != told.data:
                complain(f"{where}: that is not what was acknowledged there")


def check_kept(admin, acknowledged):
    """What was acknowledged in the last epoch is kept there."""
    for topic in ROOMS:
        epoch, kept, query = None, {}, {}
        for _ in range(1000):
            page = admin.history(topic, limit=1000, **query)
            epoch = page["position"]["epoch"]
            kept.update((one["offset"], one["json"]) for one in page["messages"])
            query = page["next"]
            if not query:
                break
        for (where, era, offset), content in acknowledged.items():
            if (where, era) == (topic, epoch) and kept.get(offset) != content:
                complain(f"{topic} at {era}:{offset}: kept is {kept.get(offset)}, not {content}")


async def storm(gateway, rounds):
    proxy = Proxy(gateway.port)
    await proxy.start()
    url = f"ws://127.0.0.1:{proxy.port}/rooms/a"
    stop = asyncio.Event()
    async with connect(url, **QUICK) as one, connect(url + "?user=eve", **QUICK) as other:
        rooms = [one.room(), one.room("rooms/b")]
        heard = listen(one, rooms)
        await until("in the rooms", lambda: all(room.live for room in rooms))
        publishing = asyncio.create_task(publish_on(other, "eve", stop))
        for _ in range(rounds):
            for _ in range(random.randrange(1, 4)):
                await asyncio.sleep(random.uniform(0.05, 0.4))
                proxy.refuses = random.random() < 0.3
                proxy.cut()
                await asyncio.sleep(random.uniform(0, 0.2))
                proxy.refuses = False
            await gateway.end(kill=random.random() < 0.5)
            await gateway.start()
        stop.set()
        acknowledged = await publishing
        for topic in ROOMS:
            last = [one for (where, *_), one in acknowledged.items() if where == topic][-1]
            await until("the last is heard", lambda: any(
                isinstance(told, Message) and told.data == last for told in heard[topic]))
    check_heard("storm", heard, acknowledged)
    await asyncio.to_thread(check_kept, Admin(f"http://127.0.0.1:{gateway.admin_port}"), acknowledged)
    proxy.server.close()
    return len(acknowledged), sum(map(len, heard.values()))


async def check_api(gateway):
    admin = Admin(f"http://127.0.0.1:{gateway.admin_port}")
    call = asyncio.to_thread
    url = f"ws://127.0.0.1:{gateway.port}/rooms/api?user=ann"
    async with connect(url, come_back=lambda end: end.word != "banned", **QUICK) as client:
        room, pushed, states = client.room(), [], []
        client.on("push", pushed.append)
        client.on("state", states.append)
        await until("in", lambda: room.live)
        told = aiter(room)
        first = asyncio.create_task(anext(told))
        await asyncio.sleep(0)
        await call(admin.publish, {"x": [1, None]}, topic="rooms/api", key="k")
        message = await asyncio.wait_for(first, SECONDS_MAX)
        expect("JSON", (message.data, message.user), ({"x": [1, None]}, None))
        await room.publish(b"\x00\xff")
        message = await asyncio.wait_for(anext(told), SECONDS_MAX)
        expect("bytes", (message.data, message.user), (b"\x00\xff", "ann"))
        await call(admin.publish, "to ann", user="ann")
        await call(admin.batch, [{
            "targets": [{"connection": client.hello["connection"]}], "text": "to it"}])
        await until("both pushes", lambda: len(pushed) == 2)
        # They come by ways of their own, in either order.
        expect("pushes", sorted((one.to, one.data) for one in pushed),
               [("connection", "to it"), ("user", "to ann")])
        expect("members", room.members, [{"user": "ann"}])
        expect("presence", (await call(admin.presence, "rooms/api"))["members"][0]["user"], "ann")
        messages, more = await room.history(limit=1)
        expect("history", (len(messages), messages[0].data), (1, {"x": [1, None]}))
        rest, more = await room.history(since=more)
        expect("the rest of it", (len(rest) > 0, more), (True, None))
        ids = [one["id"] for one in (await call(admin.connections, topic="rooms/api"))["connections"]]
        expect("connections", ids, [client.hello["connection"]])
        names = [one["name"] for one in (await call(admin.topics))["topics"]]
        expect("the topic is listed", "rooms/api" in names, True)
        await check_subscribing(admin, client)
        await check_errors(admin, client, room)
        await check_contents(room)
        await call(admin.disconnect, user="ann", code=4000, reason="moved: elsewhere")
        await until("back", lambda: [one.name for one in states[-3:]] == [
            "waiting", "connecting", "open"])
        await call(admin.disconnect, user="ann", code=4000, reason="banned: for spam")
        await until("closed", lambda: client.state.name == "closed")
        expect("the end", (states[-1].end.code, states[-1].end.word), (4000, "banned"))


async def check_refusals(gateway):
    """What is no better the next time is not tried again, and says why."""
    for path, word in (("nowhere", "404"), ("echo", "tidegate.v1")):
        states = []
        async with connect(f"ws://127.0.0.1:{gateway.port}/{path}", **QUICK) as client:
            client.on("state", states.append)
            await until(f"/{path} is given up", lambda: client.state.name == "closed")
            expect(f"/{path}, why", word in client.state.end.why, True)
            expect(f"/{path}, tried", sum(one.name == "waiting" for one in states), 0)


async def check_contents(room):
    """What JSON does not have is refused, and stops nothing else."""
    for content in (float("nan"), {1, 2}, object(), "\ud800"):
        try:
            await asyncio.wait_for(room.publish(content), SECONDS_MAX)
        except (TypeError, ValueError):
            pass
        else:
            raise AssertionError(f"{content!r} was published")
    await asyncio.wait_for(room.publish("next"), SECONDS_MAX)


async def check_subscribing(admin, client):
    met = []
    off = client.on("room", met.append)
    await asyncio.to_thread(admin.subscribe, "secret/x", user="ann")
    await until("subscribed", lambda: bool(met))
    expect("the topic", met[0].topic, "secret/x")
    await asyncio.to_thread(admin.unsubscribe, "secret/x", user="ann")
    await until("unsubscribed", lambda: met[0] not in client.rooms)
    off()


async def check_errors(admin, client, room):
    async def fails(what, code, call):
        try:
            await call
        except TidegateError as error:
            expect(f"{what}, the error", error.code, code)
        else:
            raise AssertionError(f"{what}: no error, expected {code}")

    await fails("a topic that is not listed", "not_allowed", client.room("secret/y").publish("x"))
    await fails("a message that is too large", "too_large",
                room.publish("x" * client.hello["max_message"]))
    gone = asyncio.to_thread(admin.publish, "x", connection="AAAAAAAAAAAAAAAAAAA")
    await fails("nobody's connection", "connection_gone", gone)


async def run(binary, rounds):
    with tempfile.TemporaryDirectory(prefix="tidegate-clients-") as folder:
        gateway = Gateway(binary, folder)
        try:
            await gateway.start()
            await check_api(gateway)
            await check_refusals(gateway)
            started = time.monotonic()
            acknowledged, heard = await storm(gateway, rounds)
        finally:
            await gateway.end(kill=True)
    return (f"tidegate.py: the API; {rounds} restarts, {acknowledged} messages acknowledged,"
            f" {heard} heard, {time.monotonic() - started:.0f} s")


def main():
    if len(sys.argv) not in (2, 3):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        line = asyncio.run(run(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 15))
    except (AssertionError, TidegateError) as error:
        complain(str(error))
    for text in wrong:
        print(f"tidegate.py: {text}")
    if not wrong:
        print(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
