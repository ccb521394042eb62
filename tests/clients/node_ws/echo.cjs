// Talks to an echo server through npm's `ws`, a client that shares nothing with the gateway.
//
//     node echo.cjs ws://127.0.0.1:8080/echo
//
// Exit code 0 and one line if every check passed, 1 and a line for each that did not, 2 for a wrong
// call.
"use strict";

const { randomBytes } = require("node:crypto");
const { once } = require("node:events");
const { isDeepStrictEqual } = require("node:util");
const WebSocket = require("ws");
const { version } = require("ws/package.json");

const SIZES = [0, 1, 125, 126, 65_535, 65_536, 1 << 20];
const CONNECTIONS_AT_ONCE = 50;
const CHECK_TIME_MAX_MS = 30_000;

// Each way to offer compression, as the option of `ws`; threshold 0 compresses small messages, too.
const OFFERS = {
  "off": false,
  "default": true,
  "every message": { threshold: 0 },
  "no context takeover": {
    threshold: 0, serverNoContextTakeover: true, clientNoContextTakeover: true,
  },
  "server without context takeover": { threshold: 0, serverNoContextTakeover: true },
  "windows of 9 bits": { threshold: 0, serverMaxWindowBits: 9, clientMaxWindowBits: 9 },
  "windows of 10 bits, no context takeover": {
    threshold: 0, serverMaxWindowBits: 10, clientMaxWindowBits: 10,
    serverNoContextTakeover: true, clientNoContextTakeover: true,
  },
};

function expect(what, got, wanted) {
  if (isDeepStrictEqual(got, wanted)) return;
  throw new Error(`${what}: got ${JSON.stringify(got)}, expected ${JSON.stringify(wanted)}`);
}

// Opens a connection, hands it over, and closes it however that ends.
async function connected(url, offer, use) {
  const ws = new WebSocket(url, { perMessageDeflate: offer });
  let answer;
  ws.on("upgrade", (response) => { answer = response.headers; });
  const failure = new Promise((_, reject) => {
    ws.on("error", reject);
    ws.on("close", (code) => reject(new Error(`closed with ${code} in the middle of the check`)));
  });
  failure.catch(() => {});
  const late = () => ws.emit("error", new Error(`not done after ${CHECK_TIME_MAX_MS} ms`));
  const timer = setTimeout(late, CHECK_TIME_MAX_MS);
  try {
    await Promise.race([once(ws, "open"), failure]);
    return await Promise.race([use(ws, answer), failure]);
  } finally {
    clearTimeout(timer);
    ws.removeAllListeners("close");
    ws.terminate();
  }
}

async function expectEcho(ws, sent) {
  const [data, isBinary] = await once(ws, "message");
  expect("binary echo", isBinary, typeof sent !== "string");
  const wanted = Buffer.from(sent);
  if (data.equals(wanted)) return;
  const different = wanted.findIndex((byte, index) => byte !== data[index]);
  const at = different < 0 ? wanted.length : different;
  throw new Error(`echo of ${wanted.length} bytes: got ${data.length}, different from ${at} on`);
}

// Text of so many bytes in UTF-8: two-byte characters, so that pieces end within one.
function textOf(size) {
  return "a".repeat(size % 2) + "é".repeat(Math.floor(size / 2));
}

// Half of it compressible, half not.
function bytesOf(size) {
  return Buffer.concat([Buffer.alloc(Math.floor(size / 2)), randomBytes(Math.ceil(size / 2))]);
}

// `ws` itself refuses an answer that does not honour its offer (RFC 7692 section 7.1).
function negotiates(url, offer) {
  return connected(url, offer, (ws, answer) => {
    const header = answer["sec-websocket-extensions"];
    if (offer === false) {
      expect("extensions in the answer", header, undefined);
      expect("extensions agreed on", ws.extensions, "");
      return;
    }
    expect("name in the answer", header?.split(";")[0].trim(), "permessage-deflate");
    expect("extensions agreed on", ws.extensions, "permessage-deflate");
  });
}

function echoes(url, offer, message) {
  return connected(url, offer, async (ws) => {
    // Twice: with context takeover the second is compressed against the first.
    for (let turn = 0; turn < 2; turn += 1) {
      ws.send(message);
      await expectEcho(ws, message);
    }
  });
}

function echoesFragments(url, offer, fragments) {
  return connected(url, offer, async (ws) => {
    const binary = typeof fragments[0] !== "string";
    for (const [at, fragment] of fragments.entries()) {
      ws.send(fragment, { binary, fin: at === fragments.length - 1 });
      // A control frame may come between the fragments (RFC 6455 section 5.4).
      if (at < fragments.length - 1) {
        ws.ping(`between ${at}`);
        const [payload] = await once(ws, "pong");
        expect("pong", payload.toString(), `between ${at}`);
      }
    }
    await expectEcho(ws, binary ? Buffer.concat(fragments) : fragments.join(""));
  });
}

function answersPing(url, offer, payload) {
  return connected(url, offer, async (ws) => {
    ws.ping(payload);
    const [pong] = await once(ws, "pong");
    expect("pong", pong, payload);
  });
}

function choosesNoSubprotocol(url) {
  return connected(url, false, (ws, answer) => {
    expect("subprotocol", ws.protocol, "");
    expect("header", answer["sec-websocket-protocol"], undefined);
  });
}

function closes(url, offer, code, reason) {
  return connected(url, offer, async (ws) => {
    ws.removeAllListeners("close");
    ws.close(code, reason);
    const [gotCode, gotReason] = await once(ws, "close");
    expect("close frame", [gotCode, gotReason.toString()], [code, reason]);
  });
}

async function servesAtOnce(url, offer) {
  let arrived = 0;
  let letGo;
  const everyoneIsThere = new Promise((resolve) => { letGo = resolve; });
  const one = (number) => connected(url, offer, async (ws) => {
    arrived += 1;
    if (arrived === CONNECTIONS_AT_ONCE) letGo();
    await everyoneIsThere;
    for (let turn = 0; turn < 10; turn += 1) {
      const message = `connection ${number}, turn ${turn}, ${"x".repeat(number * 100)}`;
      ws.send(message);
      await expectEcho(ws, message);
    }
  });
  await Promise.all(Array.from({ length: CONNECTIONS_AT_ONCE }, (_, number) => one(number)));
}

function* checks(url) {
  for (const [name, offer] of Object.entries(OFFERS)) {
    yield [`${name}: negotiation`, () => negotiates(url, offer)];
    for (const size of SIZES) {
      yield [`${name}: text of ${size} bytes`, () => echoes(url, offer, textOf(size))];
      yield [`${name}: binary of ${size} bytes`, () => echoes(url, offer, bytesOf(size))];
    }
    const text = ["Gr", "", "üße ", "潮の門".repeat(20_000), ""];
    yield [`${name}: text in fragments`, () => echoesFragments(url, offer, text)];
    const binary = [Buffer.alloc(0), Buffer.from([0]), bytesOf(70_000), Buffer.from([255])];
    yield [`${name}: binary in fragments`, () => echoesFragments(url, offer, binary)];
    yield [`${name}: ${CONNECTIONS_AT_ONCE} connections at once`, () => servesAtOnce(url, offer)];
  }
  for (const name of ["off", "default"]) {
    const offer = OFFERS[name];
    for (const size of [0, 1, 125]) {
      yield [`${name}: ping of ${size} bytes`, () => answersPing(url, offer, bytesOf(size))];
    }
    for (const code of [1000, 3000, 4999]) {
      yield [`${name}: close ${code}`, () => closes(url, offer, code, "")];
      yield [`${name}: close ${code} with a reason`, () => closes(url, offer, code, "bis später")];
    }
    yield [`${name}: close with the longest reason`, () => closes(url, offer, 1000, textOf(123))];
  }
  yield ["no subprotocol offered", () => choosesNoSubprotocol(url)];
}

async function run(url) {
  let passed = 0;
  let failed = 0;
  for (const [name, check] of checks(url)) {
    try {
      await check();
      passed += 1;
    } catch (error) {
      failed += 1;
      console.log(`FAILED ${name}: ${error.message}`);
    }
  }
  console.log(`node ws ${version}: ${passed} checks passed${failed ? `, ${failed} failed` : ""}`);
  process.exitCode = failed ? 1 : 0;
}

if (process.argv.length !== 3 || process.argv[2] === "--help") {
  console.log("usage: node echo.cjs ws://HOST:PORT/PATH");
  process.exitCode = process.argv[2] === "--help" ? 0 : 2;
} else {
  run(process.argv[2]);
}
