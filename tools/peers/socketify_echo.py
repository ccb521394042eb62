"""A WebSocket echo with uWebSockets, through PyPI's socketify.

The protocol is uWebSockets' C++; Python runs once for each message. The native loop is run as it
is: socketify's own run() polls it from asyncio and rarely waits, which would measure the polling.
No compression, no idle timeout, no pings of its own. Connections whose path begins with /rooms/
subscribe to the topic of that path, and what one sends is published to all of them.

What cannot be configured through socketify: the backlog (512 in uWebSockets) and TCP_NODELAY (set
by uWebSockets).
"""

import argparse
import importlib.metadata
import resource
import signal
import sys

CANNOT_RUN = 3
MAX_PAYLOAD = 16 * 1024 * 1024


def give_up(reason):
    print(f"socketify_echo: {reason}", file=sys.stderr)
    sys.exit(CANNOT_RUN)


try:
    from socketify import App, CompressOptions
except (ImportError, OSError) as error:
    give_up(f"PyPI's socketify cannot be loaded: {error}")


def raise_files():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def behaviour(**handlers):
    return {
        "compression": CompressOptions.DISABLED,
        "max_payload_length": MAX_PAYLOAD,
        "max_backpressure": MAX_PAYLOAD + 64 * 1024,
        "idle_timeout": 0,
        **handlers,
    }


def echo(connection, message, opcode):
    connection.send(message, opcode)


def upgrade_to_room(response, request, context):
    response.upgrade(
        request.get_header("sec-websocket-key"),
        request.get_header("sec-websocket-protocol"),
        request.get_header("sec-websocket-extensions"),
        context,
        request.get_url(),
    )


def main():
    parser = argparse.ArgumentParser(description="the uWebSockets peer")
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    raise_files()
    app = App()

    def to_room(connection, message, opcode):
        app.publish(connection.get_user_data(), message, opcode)

    def join(connection):
        connection.subscribe(connection.get_user_data())

    def listening(_):
        version = importlib.metadata.version("socketify")
        print(f"socketify {version}, uWebSockets on libuv, no compression", flush=True)

    app.ws("/rooms/*", behaviour(upgrade=upgrade_to_room, open=join, message=to_room))
    app.ws("/*", behaviour(message=echo))
    # Python's own handlers would wait for the native loop to come back.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    app.listen({"port": port, "host": "0.0.0.0"}, listening)
    app.loop.uv_loop.run()


if __name__ == "__main__":
    main()
