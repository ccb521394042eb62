// The page that the gateway serves at "/", driven in a real browser: what a person can do with it.
//
// TIDEGATE_URL  the page (default http://127.0.0.1:8080/)

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { openBrowser, watch } from "./browser.mjs";

const pageUrl = process.env.TIDEGATE_URL ?? "http://127.0.0.1:8080/";
const answerTimeMs = 10_000;

let browser;
let closeBrowser;
let page;
let complaints = [];     // what the page or the browser logged as an error
let wire = [];           // the payloads of the WebSocket as the browser's network log has them

before(async () => {
  ({ browser, close: closeBrowser } = await openBrowser(answerTimeMs));
  browser.on("page", (window) => watch(window, complaints));
  browser.pages().forEach((window) => watch(window, complaints));
  page = browser.pages()[0] ?? await browser.newPage();
  page.on("websocket", (socket) => {
    socket.on("framesent", ({ payload }) => wire.push({ direction: "sent", payload }));
    socket.on("framereceived", ({ payload }) => wire.push({ direction: "received", payload }));
  });
});

after(() => closeBrowser?.());

// Waits until the browser has logged an error with this in it, and forgets it.
async function complaint(text) {
  const until = Date.now() + answerTimeMs;
  for (;;) {
    const at = complaints.findIndex((one) => one.includes(text));
    if (at >= 0) return complaints.splice(at, 1);
    if (Date.now() > until) throw new Error(`no error with ${text}: ${complaints}`);
    await new Promise((done) => setTimeout(done, 20));
  }
}

async function connect() {
  await page.click("#connect");
  await page.waitForSelector("#status[data-state=open]");
}

async function close() {
  await page.click("#close");
  await page.waitForSelector("#status[data-state=closed]");
  return page.locator("#messages tr").first().evaluate((row) => ({ ...row.dataset }));
}

// Presses a button that sends, and returns the row of the message and the row of its echo.
async function sendAndRead(button) {
  wire = [];
  const newest = await page.locator("#messages tr").first().getAttribute("data-number");
  const number = Number(newest) + 1;
  await page.click(button);
  await page.waitForSelector(`#messages tr[data-echo="${number}"]`);
  const read = (selector) => page.locator(selector).evaluate((row) => ({
    ...row.dataset,
    content: row.querySelector(".content").textContent,
    trip: row.querySelector(".trip").textContent,
  }));
  const sent = await read(`#messages tr[data-number="${number}"]`);
  const echo = await read(`#messages tr[data-echo="${number}"]`);
  assert.equal(sent.direction, "sent");
  assert.equal(echo.direction, "received");
  assert.equal(echo.kind, sent.kind);
  assert.equal(echo.size, sent.size);
  assert.equal(echo.content, sent.content);
  assert.match(sent.trip, /^\d+(\.\d)? ms$/);
  return { sent, echo };
}

function wireOf(direction) {
  const wanted = wire.filter((entry) => entry.direction === direction);
  return Buffer.concat(wanted.map((entry) => Buffer.from(entry.payload)));
}

test("the page loads what the gateway has, and points at its own /echo", async () => {
  const requests = [];
  page.on("request", (request) => requests.push(request.url()));
  const response = await page.goto(pageUrl);
  assert.equal(response.status(), 200);
  assert.match(response.headers()["content-type"], /^text\/html/);
  const address = new URL("echo", pageUrl);
  address.protocol = address.protocol.replace("http", "ws");
  assert.equal(await page.inputValue("#url"), address.href);
  const client = new URL("client.js", pageUrl).href;
  assert.deepEqual(requests.filter((url) => !url.startsWith("data:")), [response.url(), client]);
});

test("connects", async () => {
  await connect();
  const row = page.locator("#messages tr").first();
  assert.equal(await row.getAttribute("data-kind"), "open");
  assert.match(await row.textContent(), /subprotocol: none/);
});

const texts = {
  ASCII: "Hello",
  "non-ASCII": "Grüße, 潮の門 🌊 \u0000\u00a0",
  empty: "",
  long: "é".repeat(40_000),
};
for (const [name, text] of Object.entries(texts)) {
  test(`echoes text: ${name}`, async () => {
    await page.fill("#text", text);
    const { sent } = await sendAndRead("#send-text");
    assert.equal(sent.kind, "text");
    assert.equal(Number(sent.size), Buffer.byteLength(text));
    assert.equal(wireOf("received").toString(), text);
  });
}

test("echoes binary given as hex", async () => {
  await page.fill("#hex", "00 ff 7F,80 0x0d0a");
  const { sent } = await sendAndRead("#send-hex");
  assert.equal(sent.kind, "binary");
  assert.equal(sent.content, "00 ff 7f 80 0d 0a");
  assert.equal(wireOf("received").toString("hex"), "00ff7f800d0a");
});

for (const size of [0, 1, 125, 126, 65_535, 65_536, 70_000]) {
  test(`echoes ${size} random bytes`, async () => {
    await page.fill("#random-size", String(size));
    const { sent } = await sendAndRead("#send-random");
    assert.equal(sent.kind, "binary");
    assert.equal(Number(sent.size), size);
    assert.equal(wireOf("sent").length, size);
    assert.ok(wireOf("sent").equals(wireOf("received")));
  });
}

test("refuses what is not hex, and says so", async () => {
  await page.fill("#hex", "0g");
  await page.click("#send-hex");
  assert.match(await page.textContent("#problem"), /'g' is not a hex digit/);
});

test("shows the round trips", async () => {
  assert.equal(await page.textContent("#rtt-count"), String(Object.keys(texts).length + 8));
  for (const id of ["#rtt-last", "#rtt-median", "#rtt-p99"]) {
    assert.match(await page.textContent(id), /^\d+(\.\d)? ms$/);
  }
});

test("sends every N ms until it is told to stop", async () => {
  await page.fill("#text", "tick");
  await page.fill("#repeat-ms", "20");
  await page.check("#repeat");
  const echoes = page.locator("#messages tr[data-direction=received]");
  await echoes.nth(await echoes.count() + 10).waitFor();
  await page.uncheck("#repeat");
  // The counts are drawn with the next frame: what was sent just before stands there then.
  await page.evaluate(() => new Promise((drawn) => {
    requestAnimationFrame(() => requestAnimationFrame(drawn));
  }));
  const count = await page.textContent("#sent-count");
  await page.waitForTimeout(100);
  assert.equal(await page.textContent("#sent-count"), count);
});

test("keeps the newest 500 rows", async () => {
  await page.evaluate(() => {
    for (let turn = 0; turn < 300; turn += 1) document.querySelector("#send-text").click();
  });
  await page.waitForFunction(() => {
    const [sent, received] = ["#sent-count", "#received-count"]
      .map((id) => document.querySelector(id).textContent);
    return Number(sent) > 300 && sent === received;
  });
  assert.equal(await page.locator("#messages tr").count(), 500);
});

test("refuses a close code that a page may not send, and stays connected", async () => {
  await page.fill("#close-code", "1002");
  await page.click("#close");
  assert.notEqual(await page.textContent("#problem"), "");
  assert.equal(await page.getAttribute("#status", "data-state"), "open");
});

test("closes with 1000", async () => {
  await page.fill("#close-code", "1000");
  await page.fill("#close-reason", "");
  const row = await close();
  assert.deepEqual([row.kind, row.code, row.clean], ["close", "1000", "true"]);
  assert.match(await page.textContent("#status"), /1000 normal closure/);
});

test("closes with 4999 and a reason", async () => {
  await connect();
  await page.fill("#close-code", "4999");
  await page.fill("#close-reason", "bis später");
  const row = await close();
  assert.deepEqual([row.code, row.clean], ["4999", "true"]);
  assert.match(await page.locator("#messages tr").first().textContent(), /bis später/);
});

// ---- Rooms ----

// Of this run alone, and with what a path cannot hold as it is.
const room = `a room of?its#own & ü+% ${process.pid}`;
const otherRoom = `${room}, next door`;
let ada;
let bob;
let eve;

const roomUrl = (name) => `${pageUrl}#room=${encodeURIComponent(name)}`;

async function inRoom(window, speaker) {
  await window.waitForSelector("#room-status[data-state=open]");
  await window.fill("#speaker", speaker);
  return window;
}

// In front, as for a person: to a window that is hidden and typed into, Chromium passes on what
// arrives once in a second.
async function say(window, text) {
  await window.bringToFront();
  await window.fill("#say-text", text);
  await window.press("#say-text", "Enter");
}

// The first entry of this kind with this text, as soon as it is there.
async function heard(window, said, kind = "said") {
  const entry = await window.waitForFunction(([wanted, ofKind]) => {
    const items = [...document.querySelectorAll(`#talk li[data-kind="${ofKind}"]`)];
    const item = items.find((one) => one.querySelector(".said").textContent === wanted);
    return item && {
      speaker: item.querySelector(".speaker").textContent,
      own: item.dataset.own === "true",
    };
  }, [said, kind]);
  return entry.jsonValue();
}

test("a link opens a second window in the room", async () => {
  ada = await browser.newPage();
  await ada.goto(roomUrl(room));
  await inRoom(ada, "ada");
  const [opened] = await Promise.all([browser.waitForEvent("page"), ada.click("#second")]);
  bob = await inRoom(opened, "bob");
  assert.equal(await bob.inputValue("#room"), room);
});

test("two windows in a room hear each other", async () => {
  await say(ada, "Hello, bob 🌊");
  assert.deepEqual(await heard(bob, "Hello, bob 🌊"), { speaker: "ada", own: false });
  assert.deepEqual(await heard(ada, "Hello, bob 🌊"), { speaker: "ada", own: true });
  await say(bob, "Hello, ada");
  assert.deepEqual(await heard(ada, "Hello, ada"), { speaker: "bob", own: false });
  assert.deepEqual(await heard(bob, "Hello, ada"), { speaker: "bob", own: true });
});

test("another room hears nothing of it, and is not heard", async () => {
  eve = await browser.newPage();
  await eve.goto(roomUrl(otherRoom));
  await inRoom(eve, "eve");
  await say(eve, "from next door");
  await heard(eve, "from next door");
  await say(ada, "only in here");
  await heard(bob, "only in here");
  await say(eve, "the last from next door");
  await heard(eve, "the last from next door");
  const speakers = (window) =>
    window.locator("#talk li[data-kind=said] .speaker").allTextContents();
  assert.deepEqual(await speakers(eve), ["eve", "eve"]);
  assert.ok(!(await speakers(bob)).includes("eve"));
});

test("what peers send is shown as text, never as HTML", async () => {
  const text = `<img src="x" onerror="window.harmed = true"><b>bold</b>`;
  await ada.fill("#speaker", "<i>ada</i>");
  await say(ada, text);
  assert.equal((await heard(bob, text)).speaker, "<i>ada</i>");
  assert.equal(await bob.locator("#talk :is(img, b, i)").count(), 0);
  assert.equal(await bob.evaluate(() => window.harmed), undefined);
});

test("a room passes text and binary on as they were", async () => {
  const path = `rooms/${encodeURIComponent(room)}`;
  const address = new URL(path, pageUrl).href.replace(/^http/, "ws");
  await ada.evaluate((url) => new Promise((done, failed) => {
    const socket = new WebSocket(url);
    socket.onerror = failed;
    socket.onclose = done;
    socket.onopen = () => {
      socket.send("not JSON {");
      socket.send(`{"name": 1}`);
      socket.send(new Uint8Array([0, 255, 127, 128]));
    };
    let left = 3;
    socket.onmessage = () => { if ((left -= 1) === 0) socket.close(1000); };
  }), address);
  assert.equal((await heard(bob, "not JSON {", "text")).speaker, "text");
  await heard(bob, `{"name": 1}`, "text");
  assert.equal((await heard(bob, "00 ff 7f 80", "binary")).speaker, "binary, 4 B");
});

test("keeps the newest 200 lines of a room, in their order", async () => {
  for (let turn = 1; turn <= 250; turn += 1) await say(ada, `turn ${turn}`);
  await bob.bringToFront();
  await heard(bob, "turn 250");
  const lines = await bob.locator("#talk .said").allTextContents();
  const said = lines.filter((line) => line.startsWith("turn "));
  // Who comes and goes has a line as well: those of the clients before may have gone meanwhile.
  assert.equal(await bob.locator("#talk > *").count(), 200);
  assert.ok(said.length > 190, `${said.length} messages`);
  const newest = Array.from(said, (_, at) => `turn ${251 - said.length + at}`);
  assert.deepEqual(said, newest);
});

test("leaves a room, and goes to another", async () => {
  await bob.click("#leave");
  await bob.waitForSelector("#room-status[data-state=closed]");
  assert.equal(await bob.isDisabled("#say-text"), true);
  await bob.fill("#room", otherRoom);
  await bob.click("#join");
  await bob.waitForSelector("#room-status[data-state=open]");
  await say(bob, "moved next door");
  assert.equal((await heard(eve, "moved next door")).speaker, "bob");
  assert.equal(bob.url(), roomUrl(otherRoom));
});

const wrongRooms = {
  "195 bytes": `${"ü".repeat(97)}x`,
  "a control character": "a\u0085b",
  "a slash": "a/b",
  "..": "..",
};
for (const [name, wrong] of Object.entries(wrongRooms)) {
  test(`refuses a room name, and stays where it is: ${name}`, async () => {
    await bob.fill("#room", wrong);
    await bob.click("#join");
    assert.notEqual(await bob.textContent("#room-problem"), "");
    assert.equal(await bob.getAttribute("#room-status", "data-state"), "open");
  });
}

test("a long name of a room stays in its card, however narrow the window", async () => {
  await eve.fill("#room", "w".repeat(194));
  await eve.click("#join");
  await eve.waitForSelector("#room-status[data-state=open]");
  for (const width of [320, 1366]) {
    await eve.setViewportSize({ width, height: 800 });
    const over = await eve.evaluate(() => {
      const parts = [...document.querySelectorAll("#room-status, #how, #how *, #second, #talk *")];
      const wide = parts.filter((part) => {
        const inner = part.closest(".card, .status").getBoundingClientRect();
        return part.getBoundingClientRect().right > inner.right + 1;
      });
      const page = document.documentElement.scrollWidth > innerWidth ? ["the page"] : [];
      return [...page, ...wide.map((part) => part.outerHTML)];
    });
    assert.deepEqual(over, []);
  }
});

test("a page of another origin cannot connect, as it may not by default", async () => {
  const other = new URL(pageUrl);
  other.hostname = other.hostname === "localhost" ? "127.0.0.1" : "localhost";
  const window = await browser.newPage();
  await window.goto(other.href);
  const outcome = (url) => window.evaluate((address) => new Promise((done) => {
    const socket = new WebSocket(address);
    socket.onopen = () => done("open");
    socket.onclose = ({ code }) => done(code);
  }), url.href.replace(/^http/, "ws"));
  assert.equal(await outcome(new URL("echo", other)), "open");
  assert.equal(await outcome(new URL("echo", pageUrl)), 1006);
  // The browser has said so as well.
  await complaint("403");
  await window.close();
});

test("logged no error", () => {
  assert.deepEqual(complaints, []);
});
