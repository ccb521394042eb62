// The client library in a browser: through restarts of a gateway and cuts of the network, in the
// examples as a person uses them, and in the console's rooms.
//
// TIDEGATE_BIN     the gateway (default target/release/tidegate)
// TIDEGATE_ROUNDS  restarts of the gateway (default 15)
// Pictures go to target/screenshots.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { extname, normalize } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { CONFIG } from "../clients/js/config.mjs";
import { Gateway, pause } from "../clients/js/gateway.mjs";
import { checkHeard, said } from "../clients/js/hearing.mjs";
import { Proxy } from "../clients/js/proxy.mjs";
import { openBrowser } from "./browser.mjs";

const root = fileURLToPath(new URL("../..", import.meta.url));
const pictures = `${root}target/screenshots`;
const rounds = Number(process.env.TIDEGATE_ROUNDS ?? 15);
const KINDS = { ".html": "text/html", ".js": "text/javascript" };

let browser, closeBrowser, server, site, gateway, proxy;
const alive = [];       // what has to be closed

before(async () => {
  mkdirSync(pictures, { recursive: true });
  ({ browser, close: closeBrowser } = await openBrowser(20_000));
  // As `python3 -m http.server --directory tools`.
  server = createServer((request, answer) => {
    const path = normalize(new URL(request.url, "http://a").pathname);
    try {
      const file = readFileSync(`${root}tools${path}`);
      answer.writeHead(200, { "content-type": KINDS[extname(path)] ?? "text/plain" }).end(file);
    } catch {
      answer.writeHead(404).end();
    }
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  site = `http://127.0.0.1:${server.address().port}`;
});

after(async () => {
  await closeBrowser?.();
  server?.close();
  for (const one of alive) await one.close();
});

async function serve(config) {
  gateway = await Gateway.start(config);
  proxy = await Proxy.to(gateway.port);
  alive.push(gateway, proxy);
}

const example = (name, query = "") =>
  `${site}/examples/${name}.html?gateway=ws://127.0.0.1:${proxy.port}${query}`;

async function open(url) {
  const page = await browser.newPage();
  page.complaints = [];
  page.on("pageerror", (error) => page.complaints.push(String(error)));
  await page.goto(url);
  return page;
}

async function picture(page, name) {
  await page.bringToFront();
  await page.screenshot({ path: `${pictures}/${name}.png` });
}

// The page says that it is open.
const opened = (page) => page.waitForFunction(() =>
  document.querySelector("#state").textContent.startsWith("open"));
const lines = (page, selector) => page.locator(selector).allTextContents();
const shows = (page, selector, text) => page.waitForFunction(([where, wanted]) =>
  [...document.querySelectorAll(where)].some((one) => one.textContent.includes(wanted)),
[selector, text]);

test("two rooms come through restarts and cuts", async () => {
  await serve(CONFIG);
  const page = await open(`${site}/examples/README.md`);
  await page.evaluate(async ([url, base]) => {
    const { connect } = await import(`${base}/js/tidegate.js`);
    const client = connect(url, { delay: 20, delayMax: 300 });
    const topics = ["rooms/a", "rooms/b"];
    const storm = window.storm = { heard: { "rooms/a": [], "rooms/b": [] }, acknowledged: [], open: 0 };
    for (const room of [client.room(), client.room("rooms/b")]) {
      room.on("gap", ({ topic }) => storm.heard[topic].push({ gap: true }));
      room.on("message", ({ topic, epoch, offset, data }) =>
        storm.heard[topic].push({ epoch, offset, ...data }));
    }
    while (!client.rooms.every((room) => room.live)) await new Promise((go) => setTimeout(go, 10));
    let number = 0;
    const say = (topic) => {
      const content = { from: "page", number: number += 1 };
      storm.open += 1;
      return client.room(topic).publish(content).then(
        ({ epoch, offset }) => storm.acknowledged.push({ topic, epoch, offset, ...content }),
        (error) => { storm.failed = String(error); },
      ).finally(() => { storm.open -= 1; });
    };
    const timer = setInterval(() => { if (storm.open < 8) say(topics[number % 2]); }, 5);
    storm.end = async () => {
      clearInterval(timer);
      while (storm.open) await new Promise((go) => setTimeout(go, 20));
      for (const topic of topics) await say(topic);
    };
  }, [`ws://127.0.0.1:${proxy.port}/rooms/a`, site]);
  for (let round = 0; round < rounds; round += 1) {
    await pause(50 + Math.random() * 400);
    proxy.cut();
    await pause(50 + Math.random() * 400);
    await gateway.end(Math.random() < 0.5 ? "SIGTERM" : "SIGKILL");
    await gateway.again();
  }
  await page.evaluate(() => window.storm.end());
  await page.waitForFunction(() => Object.entries(window.storm.heard).every(([topic, all]) => {
    const last = window.storm.acknowledged.findLast((ack) => ack.topic === topic);
    return all.some(({ number }) => number === last.number);
  }));
  const { heard, acknowledged, failed } = await page.evaluate(() => window.storm);
  const wrong = [];
  checkHeard("the page", heard, acknowledged, (text) => wrong.push(text));
  assert.deepEqual([wrong, failed, page.complaints], [[], undefined, []]);
  assert.ok(acknowledged.length > rounds, said(acknowledged.at(-1)));
  await page.close();
});

test("the chat: two talk, and what is said while the gateway is away goes out later", async () => {
  await serve(readFileSync(`${root}tools/examples/tidegate.toml`, "utf8"));
  const [ada, bob] = [await open(example("chat")), await open(example("chat"))];
  const say = async (page, name, text) => {
    await page.fill("#name", name);
    await page.fill("#text", text);
    await page.press("#text", "Enter");
  };
  await Promise.all([ada, bob].map(opened));
  await say(ada, "ada", "hello");
  await say(bob, "bob", "hello, ada");
  await shows(ada, "#talk li", "bob: hello, ada");
  proxy.refuses = true;
  proxy.cut();
  await shows(bob, "#state", "waiting");
  await picture(bob, "chat-away");
  await say(bob, "bob", "said in between");
  proxy.refuses = false;
  await shows(ada, "#talk li", "bob: said in between");
  await gateway.end();
  await shows(bob, "#state", "waiting");
  await say(bob, "bob", "said while it was away");
  await gateway.again();
  await shows(ada, "#talk li", "bob: said while it was away");
  await shows(ada, "#talk li", "not kept any more");
  const late = await open(example("chat"));
  await shows(late, "#talk li", "bob: said while it was away");
  const all = await lines(ada, "#talk li");
  assert.equal(all.filter((line) => line.includes("said in between")).length, 1);
  assert.equal(all.filter((line) => line.includes("said while")).length, 1);
  await picture(ada, "chat");
  for (const page of [ada, bob, late]) {
    assert.deepEqual(page.complaints, []);
    await page.close();
  }
});

test("presence: who comes in and goes out is seen, each once", async () => {
  const [ada, twice] = [await open(example("presence")), await open(example("presence", "&user=ada"))];
  await ada.fill("#name", "ada");
  await ada.click("button");
  await opened(ada);
  const bob = await open(example("presence", "&user=bob"));
  const present = (page, ...names) => page.waitForFunction((wanted) => JSON.stringify(wanted)
    === JSON.stringify([...document.querySelectorAll("#members li")]
      .map((one) => one.textContent).sort()), names);
  for (const page of [ada, twice, bob]) await present(page, "ada", "bob");
  await picture(ada, "presence");
  proxy.cut();
  for (const page of [ada, twice, bob]) await present(page, "ada", "bob");
  await bob.close();
  await present(ada, "ada");
  assert.equal(await ada.textContent("#total"), "1");
  for (const page of [ada, twice]) {
    assert.deepEqual(page.complaints, []);
    await page.close();
  }
});

test("the dashboard shows what a script pushes, and goes on after a restart", async () => {
  const page = await open(example("dashboard"));
  await opened(page);
  const pushing = spawn("python3",
    [`${root}tools/examples/dashboard.py`, `http://127.0.0.1:${gateway.adminPort}`],
    { stdio: "ignore" });
  const points = () => page.locator("polyline").getAttribute("points");
  const some = (count) => page.waitForFunction((wanted) => document.querySelector("polyline")
    .getAttribute("points")?.split(" ").length >= wanted, count);
  try {
    await some(3);
    assert.match(await page.textContent("#memory"), /^\d+ %$/);
    await gateway.end();
    await gateway.again();
    await opened(page);
    const before = await points();
    await page.waitForFunction((had) => document.querySelector("polyline")
      .getAttribute("points") !== had, before);
    await some(2);
    await picture(page, "dashboard");
  } finally {
    pushing.kill();
  }
  assert.deepEqual(page.complaints, []);
  await page.close();
});

test("the console: a restart, and a cut, in the middle of a room", async () => {
  const url = `http://127.0.0.1:${proxy.port}/#room=again`;
  const page = await open(url);
  await page.waitForSelector("#room-status[data-state=open]");
  const other = await open(url);
  await other.waitForSelector("#room-status[data-state=open]");
  const say = async (window, text) => {
    await window.fill("#say-text", text);
    await window.press("#say-text", "Enter");
  };
  await say(other, "before");
  await shows(page, "#talk .said", "before");
  await shows(page, "#members-total", "2");
  proxy.refuses = true;
  proxy.cut();
  await page.waitForSelector("#room-status[data-state=waiting]");
  await shows(page, "#talk .speaker", "cut off");
  await shows(page, "#talk .speaker", "not opened");
  await shows(page, "#room-problem", "does not answer");
  await picture(page, "console-away");
  const direct = await open(`http://127.0.0.1:${gateway.port}/#room=again`);
  await direct.waitForSelector("#room-status[data-state=open]");
  for (let n = 0; n < 5; n += 1) await say(direct, `missed ${n}`);
  await shows(direct, "#talk .said", "missed 4");
  proxy.refuses = false;
  await shows(page, "#talk .said", "missed 4");
  const missed = (await lines(page, "#talk .said")).filter((text) => text.startsWith("missed"));
  assert.deepEqual(missed, [0, 1, 2, 3, 4].map((n) => `missed ${n}`));
  await gateway.end();
  await page.waitForSelector("#room-status[data-state=waiting]");
  await say(page, "said while it was away");
  await gateway.again();
  await shows(other, "#talk .said", "said while it was away");
  await shows(other, "#talk .speaker", "missed");
  await page.waitForSelector("#room-status[data-state=open]");
  assert.equal(await page.isVisible("#room-problem"), false);
  await picture(page, "console");
  for (const window of [page, other, direct]) {
    assert.deepEqual(window.complaints, []);
    await window.close();
  }
});

test("the console says why a room did not open", async () => {
  await serve("[[route]]\npath = \"/\"\nhandler = \"static\"\n");
  const page = await open(`http://127.0.0.1:${gateway.port}/#room=none`);
  await shows(page, "#talk .speaker", "not opened");
  await shows(page, "#room-problem", "no route for this room");
  await page.close();
});
