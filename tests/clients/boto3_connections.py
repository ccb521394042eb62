"""Pushes to connections through boto3, as programs for Amazon API Gateway do.

    python3 boto3_connections.py ws://127.0.0.1:8080/rooms/1 http://127.0.0.1:8081

The gateway's hub.max_message must be 128 KiB. Exit code 0 and one line if every check passed, 1 and
a line for each that did not, 2 for a wrong call.
"""

import asyncio
import json
import sys
import urllib.parse
import urllib.request

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

MESSAGE_BYTES_MAX = 128 << 10
SECONDS_MAX = 60
TOPIC_OF_PATH = "rooms/boto3"


def expect(what, got, wanted):
    if got != wanted:
        raise AssertionError(f"{what}: got {got!r}, expected {wanted!r}")


def expect_error(what, name, status, call):
    try:
        call()
    except ClientError as error:
        expect(f"{what}, the error", error.response["Error"]["Code"], name)
        expect(f"{what}, the status", error.response["ResponseMetadata"]["HTTPStatusCode"], status)
        return error
    raise AssertionError(f"{what}: no error, expected {name}")


def client_of(admin):
    # Nothing of this is checked: the gateway takes bearer tokens, and none on a loopback address.
    return boto3.client(
        "apigatewaymanagementapi", endpoint_url=admin, region_name="eu-central-1",
        aws_access_key_id="none", aws_secret_access_key="none",
        config=Config(retries={"max_attempts": 1}, proxies={}, connect_timeout=10, read_timeout=10),
    )


def connection_ids(admin):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    query = urllib.parse.urlencode({"topic": TOPIC_OF_PATH})
    with opener.open(f"{admin}/v1/connections?{query}", timeout=10) as answer:
        return [one["id"] for one in json.load(answer)["connections"]]


async def check_messages(ws, client, connection):
    async def post(data):
        await asyncio.to_thread(client.post_to_connection, ConnectionId=connection, Data=data)
        return await ws.recv()

    expect("text", await post("héllo".encode()), "héllo")
    expect("bytes that are not UTF-8", await post(b"\xff\x00"), b"\xff\x00")
    largest = b"x" * MESSAGE_BYTES_MAX
    expect("the largest message", (await post(largest)).encode(), largest)


def check_errors(client, connection):
    expect_error(
        "a message that is too large", "PayloadTooLargeException", 413,
        lambda: client.post_to_connection(
            ConnectionId=connection, Data=b"x" * (MESSAGE_BYTES_MAX + 1)
        ),
    )
    expect_error(
        "an id that is none", "BadRequestException", 400,
        lambda: client.post_to_connection(ConnectionId="a/b c", Data=b"x"),
    )


def check_what_is_known(client, connection):
    known = client.get_connection(ConnectionId=connection)
    expect("the peer's address", known["Identity"]["SourceIp"], "127.0.0.1")
    for moment in ("ConnectedAt", "LastActiveAt"):
        if known[moment].tzinfo is None or known[moment].year < 2020:
            raise AssertionError(f"{moment}: got {known[moment]!r}")


async def check_delete(ws, client, connection):
    answer = await asyncio.to_thread(client.delete_connection, ConnectionId=connection)
    expect("the status of DELETE", answer["ResponseMetadata"]["HTTPStatusCode"], 204)
    try:
        await ws.recv()
        raise AssertionError("the connection was not closed")
    except ConnectionClosed as closed:
        expect("the close code", closed.rcvd.code, 1000)
    for call in (client.get_connection, client.delete_connection):
        expect_error("gone", "GoneException", 410, lambda: call(ConnectionId=connection))
    error = expect_error(
        "a push to one who is gone", "GoneException", 410,
        lambda: client.post_to_connection(ConnectionId=connection, Data=b"x"),
    )
    if not isinstance(error, client.exceptions.GoneException):
        raise AssertionError(f"not the class of that API: {error!r}")


async def check(url, admin):
    client = client_of(admin)
    async with connect(url, proxy=None) as ws:
        [connection] = await asyncio.to_thread(connection_ids, admin)
        await check_messages(ws, client, connection)
        check_errors(client, connection)
        check_what_is_known(client, connection)
        await check_delete(ws, client, connection)


async def main(url, admin):
    try:
        await asyncio.wait_for(check(url, admin), SECONDS_MAX)
    except Exception as error:  # Whatever it is, it is what failed.
        print(f"boto3 {boto3.__version__}: {type(error).__name__}: {error}")
        return 1
    print(f"boto3 {boto3.__version__}: pushes, looks up and closes connections")
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(2)
    sys.exit(asyncio.run(main(*sys.argv[1:])))
