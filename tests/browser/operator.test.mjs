// The operator's page that the gateway serves at "/" of its admin address, in a real browser.
//
// TIDEGATE_URL          the gateway (default http://127.0.0.1:8080/)
// TIDEGATE_ADMIN_URL    its admin address (default http://127.0.0.1:8081/)
// TIDEGATE_ADMIN_TOKEN  the token that the admin address asks for, if it does

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { openBrowser, watch } from "./browser.mjs";

const gatewayUrl = process.env.TIDEGATE_URL ?? "http://127.0.0.1:8080/";
const adminUrl = process.env.TIDEGATE_ADMIN_URL ?? "http://127.0.0.1:8081/";
const token = process.env.TIDEGATE_ADMIN_TOKEN;
const answerTimeMs = 15_000;    // a shard that idles shows its counters some seconds late

let browser;
let closeBrowser;
let page;
let peers;               // a window whose script holds the connections that the page is to show
let complaints = [];     // what the page or the browser logged as an error
const topic = `operator-${process.pid}`;

before(async () => {
  ({ browser, close: closeBrowser } = await openBrowser(answerTimeMs));
  peers = browser.pages()[0] ?? await browser.newPage();
  await peers.goto(gatewayUrl);
  page = await browser.newPage();
  watch(page, complaints);
});

after(() => closeBrowser?.());

async function load() {
  const response = await page.goto(adminUrl);
  if (token !== undefined) {
    await page.fill("#token", token);
    await page.press("#token", "Enter");
  }
  await page.waitForSelector("#state[data-state=ready]");
  return response;
}

const numberIn = (text) => Number(text.replaceAll(",", ""));
const figure = async (selector) => numberIn(await page.textContent(selector));

async function waitForFigure(selector, least) {
  await page.waitForFunction(([wanted, bound]) => {
    const text = document.querySelector(wanted).textContent;
    return parseFloat(text.replaceAll(",", "")) >= bound;
  }, [selector, least]);
}

// Answers the page's next questions itself, until `page.unroute`.
async function answer(fulfil) {
  await page.route("**/v1/overview", fulfil);
}

async function letThrough() {
  await page.unroute("**/v1/overview");
}

test("the page loads by itself and asks for the overview alone", async () => {
  const requests = [];
  const note = (request) => requests.push(request.url());
  page.on("request", note);
  const response = await load();
  page.off("request", note);
  assert.equal(response.status(), 200);
  assert.match(response.headers()["content-type"], /^text\/html/);
  const others = requests.filter((url) => !url.startsWith("data:") && url !== response.url());
  assert.deepEqual([...new Set(others)], [new URL("v1/overview", adminUrl).href]);
});

test("shows what there is of the gateway: state, shards, capacity, memory, budget", async () => {
  assert.match(await page.textContent("#facts"), /up \d+ (s|min|h|d).*version \d+\.\d+/);
  assert.ok(await page.locator("#shards li").count() >= 1);
  assert.match(await page.textContent("#connections-capacity"), /^[\d.]+% of [\d,]+$/);
  assert.match(await page.textContent("#floor-label"), /3,640 B/);
  assert.match(await page.textContent("#memory-kernel"), /\d/);
  assert.ok(await page.locator("#budget li").count() >= 1);
});

test("figures move when connections open, and when they speak", async () => {
  const before = await figure("#connections-open");
  await peers.evaluate(async (url) => {
    const opened = Array.from({ length: 20 }, () => new Promise((done, failed) => {
      const socket = new WebSocket(url);
      socket.onopen = () => done(socket);
      socket.onerror = failed;
    }));
    window.sockets = await Promise.all(opened);
    window.speaking = setInterval(() => window.sockets.forEach((one) => one.send("tick")), 20);
  }, new URL("echo", gatewayUrl).href.replace(/^http/, "ws"));
  await waitForFigure("#connections-open", before + 20);
  for (const counter of ["messages_in", "messages_out", "bytes_in", "bytes_out"]) {
    await waitForFigure(`#${counter}-rate`, 1);
  }
  const curve = page.locator("#connections-card .curve .line");
  assert.match(await curve.getAttribute("d"), /^M[\d.]+ [\d.]+L/);
  await peers.evaluate(() => {
    clearInterval(window.speaking);
    window.sockets.forEach((one) => one.close(1000));
  });
  await page.waitForFunction((most) => {
    const text = document.querySelector("#connections-open").textContent;
    return Number(text.replaceAll(",", "")) <= most;
  }, before);
});

test("a topic appears with its subscribers", async () => {
  const address = new URL(`rooms/${topic}`, gatewayUrl).href.replace(/^http/, "ws");
  await peers.evaluate(async (url) => {
    const opened = Array.from({ length: 3 }, () => new Promise((done, failed) => {
      const socket = new WebSocket(url);
      socket.onopen = () => done(socket);
      socket.onerror = failed;
    }));
    window.sockets = await Promise.all(opened);
    window.sockets[0].send("hello");
  }, address);
  // How a room's topic is called is the gateway's affair, but the room's name is in it.
  const row = page.locator("#topics tr", { hasText: topic });
  await row.waitFor();
  await page.waitForFunction((name) => {
    const rows = [...document.querySelectorAll("#topics tr")];
    const found = rows.find((one) => one.cells[0].textContent.includes(name));
    return found && found.cells[1].textContent === "3";
  }, topic);
  await peers.evaluate(() => window.sockets.forEach((one) => one.close(1000)));
});

test("all counters are listed when they are asked for", async () => {
  await page.click("summary");
  await page.locator("#counters tr", { hasText: "connections_open" }).waitFor();
  await page.click("summary");
});

test("follows the dark scheme", async () => {
  const lightness = async (colorScheme) => {
    await page.emulateMedia({ colorScheme });
    const colour = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    return colour.match(/\d+/g).slice(0, 3).map(Number).reduce((sum, one) => sum + one, 0) / 3;
  };
  assert.ok(await lightness("light") > 200);
  assert.ok(await lightness("dark") < 60);
  await page.emulateMedia({ colorScheme: null });
});

for (const width of [320, 390, 1366]) {
  test(`fits a window ${width} pixels wide`, async () => {
    await page.setViewportSize({ width, height: 800 });
    const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(over <= 0, `${over} pixels too wide`);
  });
}

test("stops asking while it is paused", async () => {
  let asked = 0;
  await page.click("#pause");
  await page.waitForTimeout(300);   // one question may be on its way
  const count = (request) => { if (request.url().endsWith("/v1/overview")) asked += 1; };
  page.on("request", count);
  await page.waitForTimeout(2500);
  assert.equal(asked, 0);
  await page.click("#pause");
  await page.waitForResponse("**/v1/overview");
  page.off("request", count);
});

test("stops asking while its tab is hidden", async () => {
  let asked = 0;
  const hide = (hidden) => page.evaluate((value) => {
    Object.defineProperty(document, "hidden", { configurable: true, get: () => value });
    document.dispatchEvent(new Event("visibilitychange"));
  }, hidden);
  await hide(true);
  await page.waitForTimeout(300);   // as above
  const count = (request) => { if (request.url().endsWith("/v1/overview")) asked += 1; };
  page.on("request", count);
  await page.waitForTimeout(2500);
  assert.equal(asked, 0);
  page.off("request", count);
  const answered = page.waitForResponse("**/v1/overview");
  await hide(false);
  await answered;
});

test("logged no error so far", () => {
  assert.deepEqual(complaints, []);
});

test("says so when the address cannot be read, and comes back by itself", async () => {
  await answer((route) => route.fulfill({ status: 503, body: "" }));
  await page.waitForSelector("#trouble:not([hidden])");
  assert.match(await page.textContent("#trouble-text"), /503/);
  assert.equal(await page.getAttribute("#figures", "data-stale"), "true");
  await letThrough();
  await answer((route) => route.abort("connectionrefused"));
  await page.waitForFunction(() => /connection failed/.test(
    document.querySelector("#trouble-text").textContent));
  await letThrough();
  await page.waitForSelector("#state[data-state=ready]");
  assert.equal(await page.isHidden("#trouble"), true);
  assert.equal(await page.getAttribute("#figures", "data-stale"), "false");
});

test("shows dashes for what it is not told", async () => {
  await answer((route) => route.fulfill({ json: {} }));
  await page.waitForFunction(
    () => document.querySelector("#connections-open").textContent === "–");
  assert.equal(await page.textContent("#memory-total"), "–");
  assert.equal(await page.textContent("#messages_in-rate"), "–");
  await letThrough();
});

// An overview with what a test is about, and a second more on the clock each time.
function overviewOf({ perSecond, ...rest }) {
  let seconds = 0;
  return (route) => {
    seconds += 1;
    const grown = Object.entries(perSecond).map(([name, more]) => [name, more * seconds]);
    const counters = Object.fromEntries(grown);
    const { loop_nanoseconds, ...others } = counters;
    return route.fulfill({ json: {
      started_at: 1, now: 1_000_000 + seconds * 1000, ...rest,
      shards: [{ shard: 0, counters: { ...rest.counters, ...others }, loop_nanoseconds }],
    } });
  };
}

test("slow peers are shown since the start and per minute, and what waits now", async () => {
  await answer(overviewOf({
    perSecond: { peers_stalled: 2, slow_peers_paused: 1, slow_peers_closed: 0 },
    counters: { queued: 3, backlog_bytes: 8 << 20 },
  }));
  await page.waitForFunction(() => document.querySelector("#slow-peers_stalled small"));
  assert.match(await page.textContent("#slow-peers_stalled"), /^\d+ 120\/min$/);
  assert.match(await page.textContent("#slow-slow_peers_paused"), /^\d+ 60\/min$/);
  assert.equal(await page.textContent("#slow-slow_peers_closed"), "0");
  assert.equal(await page.textContent("#slow-queued"), "3");
  assert.equal(await page.textContent("#slow-backlog_bytes"), "8.00 MiB");
  await letThrough();
});

test("the loop of a shard is shown: how much it works, and how long a turn takes", async () => {
  await answer(overviewOf({
    perSecond: { loops: 1000, loop_nanoseconds: 50_000_000 },
    counters: { connections: 1 },
  }));
  await page.waitForFunction(() => document.querySelector("#shards .turn")?.textContent === "50 µs");
  assert.equal(await page.textContent("#shards .busy"), "5.0%");
  await letThrough();
});

test("blocks of slow peers are not counted as memory of each connection", async () => {
  await answer(overviewOf({
    perSecond: {},
    counters: { connections: 2048 },
    memory_per_connection: { user: 500 + (8 << 20) / 2048, kernel: 4500, floor: 3640 },
    budget: [{ owner: "blocks", used: 8 << 20, allowed: 64 << 20 }],
  }));
  await page.waitForFunction(() => document.querySelector("#memory-blocks").textContent === "8.00 MiB");
  assert.equal(await page.textContent("#memory-total"), "5,000 B");
  assert.equal(await page.textContent("#memory-user"), "500 B");
  assert.equal(await page.textContent("#memory-times"), "1.37 × the floor");
  await letThrough();
});

test("asks for a token, refuses a wrong one, and keeps the right one for this tab", async () => {
  const right = "the-right-token-of-this-test";
  const sent = [];
  await answer(async (route) => {
    const { authorization } = await route.request().allHeaders();
    sent.push(authorization);
    if (authorization === `Bearer ${right}`) {
      const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
      await route.fulfill({ response: await route.fetch({ headers }) });
    } else {
      await route.fulfill({ status: 401, headers: { "www-authenticate": "Bearer" }, body: "" });
    }
  });
  const enter = async (text) => {
    await page.waitForSelector("#token-form:not([hidden])");
    await page.fill("#token", text);
    await page.press("#token", "Enter");
  };
  await enter("a wrong one");
  await page.waitForSelector("#token-wrong:not([hidden])");
  await enter("wrong");
  await page.waitForSelector("#token-wrong:not([hidden])");
  await enter(right);
  await page.waitForSelector("#state[data-state=ready]");
  assert.equal(await page.isHidden("#token-form"), true);
  assert.ok(sent.includes("Bearer wrong"));
  await page.reload();
  await page.waitForSelector("#state[data-state=ready]");
  assert.equal(await page.evaluate(() => Object.values(sessionStorage).length), 1);
  assert.equal(await page.evaluate(() => Object.values(localStorage).length), 0);
  await letThrough();
});
