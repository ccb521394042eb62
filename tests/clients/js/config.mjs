// What the gateway of these tests has: rooms that keep everything that a test says.

export const CONFIG = `
shards = 2
log = "warn"

[[topic]]
name = "rooms/{room}"
history = 100000
history_bytes = "16MiB"
history_age = "1h"
presence = true
linger = "0s"

[[topic]]
name = "short/{room}"
history = 5

[[route]]
path = "/rooms/{room}"
handler = "hub?topic=rooms/{room}&user=query.user"
origins = ["same", "http://127.0.0.1:*"]
subscribe = ["rooms/*", "plain/*", "short/*"]
publish = ["rooms/*", "plain/*", "short/*"]

[[route]]
path = "/free"
handler = "hub"
origins = ["same", "http://127.0.0.1:*"]
subscribe = ["rooms/*"]
publish = ["rooms/*"]
`;
