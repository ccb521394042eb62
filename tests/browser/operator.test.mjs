// The operator's page that a gateway serves at "/" of its admin address, in a real browser: every
// view of it, beside clients that are really told what is done there.
//
// TIDEGATE_BIN  the gateway (default target/release/tidegate)
// Pictures of every view go to target/screenshots.

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Gateway, pause } from "../clients/js/gateway.mjs";
import { openBrowser, watch } from "./browser.mjs";

const pictures = fileURLToPath(new URL("../../target/screenshots", import.meta.url));
const answerTimeMs = 15_000;    // a shard that idles shows its counters some seconds late
const stretchMs = 40_000;       // until a stretch of ten seconds is told and was asked for
const token = "0123456789abcdef-operator";
const config = `
shards = 2
[limits]
connections = 200
[[topic]]
name = "rooms/{room}"
history = 50
presence = true
linger = "0s"
[[topic]]
name = "nobody/{listens}"
[[listener]]
address = "127.0.0.1:0"
stack = "log!ws!tcp"
[[route]]
path = "/"
handler = "static"
[[route]]
path = "/echo"
handler = "echo"
[[route]]
path = "/rooms/{room}"
handler = "hub?topic=rooms/{room}&user=query.user"
`;
// Names as nobody should have them.
const hostile = [
  "<img src=x onerror=alert(1)>", "50%/off", "../..", "..", "jürgen 🎺", "\"'&#<b>", "a b+c",
];

let browser, closeBrowser, gateway, page, peers;
const complaints = [];          // what the page or the browser logged as an error

before(async () => {
  mkdirSync(pictures, { recursive: true });
  gateway = await Gateway.start(config);
  ({ browser, close: closeBrowser } = await openBrowser(answerTimeMs));
  peers = browser.pages()[0] ?? await browser.newPage();
  await peers.goto(`http://127.0.0.1:${gateway.port}/`);
  await peers.evaluate(() => { window.sockets = {}; });
  page = await browser.newPage();
  watch(page, complaints);
  page.on("dialog", (dialog) => {
    complaints.push(`a script has asked: ${dialog.message()}`);
    dialog.dismiss();
  });
});

after(async () => {
  await closeBrowser?.();
  await gateway?.close();
});

const admin = (path = "") => `http://127.0.0.1:${gateway.adminPort}/${path}`;
const api = async (path) => (await fetch(admin(path))).json();
const topicHash = (name) => `#/topic/${encodeURIComponent(name)}`;

// Opens a view, as by a link that somebody was sent.
async function view(hash) {
  await page.goto("about:blank");
  await page.goto(admin(hash));
  await page.waitForSelector("#state[data-state=ready]");
}

// A client that stays, under `name` in the peers' window.
async function join(name, path) {
  await peers.evaluate(([key, url]) => new Promise((done, failed) => {
    const socket = new WebSocket(url);
    const one = window.sockets[key] = { socket, heard: [], closed: null };
    socket.onopen = done;
    socket.onerror = failed;
    socket.onmessage = ({ data }) => one.heard.push(data);
    socket.onclose = ({ code, reason }) => { one.closed = { code, reason }; };
  }), [name, `ws://127.0.0.1:${gateway.port}${path}`]);
}

const room = (name, user) =>
  `/rooms/${encodeURIComponent(name)}?user=${encodeURIComponent(user)}`;
const say = (name, text) =>
  peers.evaluate(([key, said]) => window.sockets[key].socket.send(said), [name, text]);
const leave = (name) => peers.evaluate((key) => window.sockets[key].socket.close(1000), name);
const heard = (name) => peers.evaluate((key) => window.sockets[key].heard, name);
const hears = (name, text) => peers.waitForFunction(
  ([key, wanted]) => window.sockets[key].heard.includes(wanted), [name, text]);
const closed = async (name) => {
  await peers.waitForFunction((key) => window.sockets[key].closed !== null, name);
  return peers.evaluate((key) => window.sockets[key].closed, name);
};

const shows = (selector, text) => page.locator(selector, { hasText: text }).first().waitFor();
const showsOnly = (selector, wanted) => page.waitForFunction(([where, text]) =>
  document.querySelector(where)?.textContent.trim() === text, [selector, wanted]);

async function search(text, kind = "") {
  await page.fill("#search", text);
  await page.selectOption("#search-as", kind);
  await page.press("#search", "Enter");
}

test("the page comes in files, of the admin address alone, and runs nothing else", async () => {
  const requests = [];
  const note = (request) => requests.push(request.url());
  page.on("request", note);
  const response = await page.goto(admin());
  await page.waitForSelector("#state[data-state=ready]");
  page.off("request", note);
  const policy = response.headers()["content-security-policy"];
  assert.ok(!policy.includes("unsafe"), policy);
  assert.match(policy, /script-src 'self'; style-src 'self'; connect-src 'self'/);
  assert.ok(requests.every((url) => url.startsWith(admin())), requests.join(" "));
  const refused = await page.evaluate(() => {
    try {
      document.createElement("div").innerHTML = "<b>x</b>";
      return false;
    } catch {
      return true;
    }
  });
  assert.ok(refused, "the browser would make markup of a text");
  complaints.splice(0);       // which it has said
});

test("the title says which gateway it is, and how, and links lead to what there is beside", async () => {
  const { host } = await api("v1/config");
  await page.waitForFunction((name) => document.title === `ready · ${name} · Tidegate`, host);
  assert.equal(await page.textContent("#host"), host);
  assert.match(await page.textContent("#facts"), /up \d+ (s|min).*version \d+\.\d+.*by \w+/);
  const links = await page.locator("#links a").evaluateAll((all) => all.map(({ href }) => href));
  assert.deepEqual(links,
    [`http://127.0.0.1:${gateway.port}/`, admin("openapi.json"), admin("metrics")]);
  for (const href of links) assert.equal((await fetch(href)).status, 200, href);
});

test("what the start has warned of is said", async () => {
  await shows(".warnings", "nobody/{listens}");
  await view("#/configuration");
  await shows("#warnings-card", "nobody/{listens}");
});

test("figures move when connections open and speak, and shards are a table", async () => {
  await view("#/");
  await Promise.all(Array.from({ length: 12 }, (_, at) => join(`echo${at}`, "/echo")));
  await showsOnly("#tile-connections .figure", "12");
  await peers.evaluate(() => {
    window.speaking = setInterval(() => {
      for (let at = 0; at < 12; at += 1) window.sockets[`echo${at}`].socket.send("tick");
    }, 20);
  });
  await page.waitForFunction(() => [...document.querySelectorAll("#tile-messages .way")]
    .every((way) => parseFloat(way.lastElementChild.textContent) > 1));
  const headings = await page.locator("#shards th[scope=col]").allTextContents();
  assert.deepEqual(headings.slice(0, 2), ["Shard", "Connections"]);
  assert.equal(await page.locator("#shards tbody tr").count(), 2);
  const { shards } = await api("v1/overview");
  for (const { shard, counters } of shards) {
    await showsOnly(`#shards tr:nth-child(${shard + 1}) td:nth-child(2)`,
      String(counters.connections));
  }
  await peers.evaluate(() => clearInterval(window.speaking));
});

test("the bar of memory adds up", async () => {
  const { memory } = await api("v1/overview");
  const widths = await page.locator("#memory-card .memory-bar span").evaluateAll((all) =>
    all.map((one) => parseFloat(one.style.width)));
  const sum = widths.reduce((more, one) => more + one, 0);
  assert.ok(Math.abs(sum - 100) < 0.5, `${widths} are ${sum}`);
  const marks = await page.locator("#memory-card .mark").allTextContents();
  assert.deepEqual(marks, ["resident", "bill", "allowed"]);
  // What module tells the parts: all of them are what is allowed, to the byte.
  const parts = await page.evaluate(async () => {
    const { parts: of } = await import("/page/memory.js");
    return of(await (await fetch("v1/overview")).json());
  });
  assert.equal(parts.reduce((more, one) => more + one.bytes, 0), memory.allowed);
});

test("the last hour is there after a reload, with totals, and what is pointed at", async () => {
  for (let at = 0; at < 7; at += 1) await fetch(`http://127.0.0.1:${gateway.port}/nowhere`);
  for (let at = 0; at < 12; at += 1) await leave(`echo${at}`);
  await page.waitForFunction(() => {
    const legends = [...document.querySelectorAll(".chart")].map((one) => one.textContent);
    return legends.some((text) => text.includes("not_found")) &&
      legends.some((text) => text.includes("peer_closed"));
  }, null, { timeout: stretchMs });
  await page.reload();
  await shows("#tile-refusals .figure", "7");
  const chart = (title) => page.locator(".chart", { has: page.locator("h2", { hasText: title }) });
  const told = (title) => chart(title).locator(".legend").first().textContent();
  assert.equal(await told("Refused requests"), "not_found7");
  assert.equal(await told("Ended connections"), "peer_closed12");
  // By the keyboard, as a screen reader tells it; and by a pointer.
  const plot = chart("Refused requests").locator(".plot");
  await plot.focus();
  await page.keyboard.press("Home");
  assert.match(await plot.getAttribute("aria-valuetext"), /^\d\d:\d\d:\d\d: not_found \d+$/);
  await page.keyboard.press("Escape");
  const box = await chart("Connections").first().locator(".plot").boundingBox();
  await page.mouse.move(box.x + box.width - 2, box.y + 10);
  await page.waitForFunction(() =>
    /^\d\d:\d\d:\d\d$/.test(document.querySelector(".chart .when").textContent));
  assert.equal(await chart("Connections").first().locator(".cursor").isVisible(), true);
  await page.mouse.move(0, 0);
});

test("connections are found by each thing that is known of them", async () => {
  await join("ann", room("lobby", "ann"));
  await join("bob", room("kitchen", "bob"));
  await join("plain", "/echo");
  const { connections } = await api("v1/connections?user=ann");
  const [{ id, address }] = connections;
  const rows = () => page.locator("#connections tbody tr").count();
  const found = async (count, hash) => {
    // Whom a search means is asked first, and what was found before stays meanwhile.
    await page.waitForFunction((wanted) => decodeURIComponent(location.hash) === wanted, hash);
    await page.waitForFunction((wanted) =>
      document.querySelectorAll("#connections tbody tr").length === wanted, count);
  };
  await view("#/connections");
  await found(3, "#/connections");
  await search("ann");
  await found(1, "#/connections?user=ann");
  await search("rooms/kitchen", "topic");
  await found(1, "#/connections?topic=rooms/kitchen");
  await search("127.0.0.1");
  await found(3, "#/connections?address=127.0.0.1");
  const port = address.split(":").at(-1);
  await search(address);
  await found(1, `#/connections?address=127.0.0.1&port=${port}`);
  await shows("#connections", id);
  assert.equal(await page.inputValue("#search"), address);
  await search("127.0.0.1:9");
  await shows(".none", "No connection of address “127.0.0.1” with port 9 is here now.");
  await page.click(".tries >> text=any port");
  await found(3, "#/connections?address=127.0.0.1");
  await search("[::1]:9");
  await shows(".none", "No connection of address “::1” with port 9 is here now.");
  // Who is no user may be a topic, and who is both is said to be.
  await search("rooms/kitchen");
  await found(1, "#/connections?topic=rooms/kitchen");
  await shows("#guessed", "“rooms/kitchen” was taken as a topic: no user of that name is here.");
  await join("both", room("lobby", "rooms/kitchen"));
  while ((await api("v1/connections?user=rooms%2Fkitchen")).connections.length === 0) await pause(50);
  await search("rooms/kitchen");
  await found(1, "#/connections?user=rooms/kitchen");
  await page.click("#guessed >> text=show those of the topic");
  await found(1, "#/connections?topic=rooms/kitchen");
  await leave("both");
  while ((await api("v1/connections?user=rooms%2Fkitchen")).connections.length > 0) await pause(50);
  await search("/rooms/{room}");
  await found(2, "#/connections?route=/rooms/{room}");
  // Several at once, by fields.
  await page.click("summary");
  await page.fill("#search", "");
  await page.fill("#search-route", "/rooms/{room}");
  await page.fill("#search-user", "bob");
  await page.press("#search-user", "Enter");
  await found(1, "#/connections?user=bob&route=/rooms/{room}");
  // Nothing found says what was looked for, and what to try.
  await view("#/connections?user=rooms/lobby");
  await shows(".none", "No connection of user “rooms/lobby” is here now.");
  await page.click(".tries >> text=as topic");
  await found(1, "#/connections?topic=rooms/lobby");
  await search("/nowhere");
  await shows("#found-card .notice", "must be the path of a configured route");
  await page.click(".tries >> text=/echo");
  await found(1, "#/connections?route=/echo");
  await search(id);
  await shows("#facts-card", address);
  assert.equal(await rows(), 0);
});

test("a list goes on page after page", async () => {
  for (let at = 0; at < 60; at += 1) await join(`many${at}`, room("many", `many${at}`));
  await view("#/connections?topic=rooms/many");
  await page.waitForSelector("#more:not([hidden])");
  const before = await page.locator("#connections tbody tr").count();
  assert.ok(before < 60);
  while (await page.locator("#more:not([hidden])").count()) {
    const now = await page.locator("#connections tbody tr").count();
    await page.click("#more");
    await page.waitForFunction((was) => document.querySelector("#more").hidden ||
      document.querySelectorAll("#connections tbody tr").length > was, now);
  }
  const ids = await page.locator("#connections td.id").allTextContents();
  assert.equal(new Set(ids).size, 60);
});

test("all of a topic are disconnected, after a question", async () => {
  await page.click("text=Disconnect all subscribers");
  await shows("dialog", "It is for 60 connections now. The clients are told");
  const tops = await page.locator("dialog input").evaluateAll((all) =>
    all.map((one) => one.getBoundingClientRect().top));
  assert.equal(tops[0], tops[1]);
  await page.click("dialog >> text=Cancel");
  assert.equal((await api("v1/topics/rooms%2Fmany")).subscribers, 60);
  await page.click("text=Disconnect all subscribers");
  await page.fill("dialog [name=code]", "4321");
  await page.fill("dialog [name=reason]", "tidying up");
  await page.click("dialog button.danger");
  await shows("#found-card .notice", "60 connections told to close.");
  assert.deepEqual(await closed("many7"), { code: 4321, reason: "tidying up" });
});

test("a connection shows what it is and does, and is sent a message", async () => {
  const { connections: [{ id }] } = await api("v1/connections?user=ann");
  await view(`#/connection/${id}`);
  await shows("#facts-card", "/rooms/{room}");
  await shows("#facts-card", "Chrome");
  await shows("#subscriptions", "rooms/lobby");
  const speaking = setInterval(() => say("ann", "x".repeat(100)).catch(() => {}), 50);
  await page.waitForFunction(() => {
    const [, rate] = document.querySelectorAll("#traffic tbody tr");
    return parseFloat(rate.cells[1].textContent) > 0;
  });
  clearInterval(speaking);
  await page.fill("#send-card textarea", "only for you");
  await page.click("#send-card button");
  await page.click("dialog >> text=Cancel");
  await page.click("#send-card button");
  await page.click("dialog button.main");
  await shows("#send-card .notice", "Sent to 1 connection.");
  await hears("ann", "only for you");
  assert.ok(!(await heard("bob")).includes("only for you"));
  assert.equal((await heard("ann")).filter((text) => text === "only for you").length, 1);
});

test("a connection is disconnected after a question, and the page says that it is gone", async () => {
  await page.click("#disconnect");
  await page.fill("dialog [name=code]", "1005");
  await page.click("dialog button.danger");
  await shows("dialog .notice", "must be one that may be sent");
  await page.fill("dialog [name=code]", "4000");
  await page.fill("dialog [name=reason]", "ä reason");
  await page.click("dialog button.danger");
  await shows(".notice", "1 connection told to close.");
  assert.deepEqual(await closed("ann"), { code: 4000, reason: "ä reason" });
  await shows(".notice", "admin, somebody ended it by the admin address; code 4000");
  assert.equal(await page.getAttribute("#view .notice", "data-kind"), "plain");
  for (const gone of ["#disconnect", "#send-card", "#traffic-card"]) {
    assert.equal(await page.isHidden(gone), true, gone);
  }
  await shows("#end-card", "Close code4000, by the gateway");
  complaints.splice(0);       // the browser logs each answer with 410
  await shows("#last-ends", "admin (4000), by us");
  await view("#/connections");
  await search("ann");
  await shows(".none", "No connection of user “ann” is here now.");
  await shows("#last-ends", "admin (4000), by us");
  await page.click("#last-ends td.id a");
  await shows(".notice", "code 4000, by the gateway");
  // Who comes later is told what it was.
  for (const text of ["ann", "/rooms/{room}", "127.0.0.1:", "admin, somebody ended it"]) {
    await shows("#end-card", text);
  }
  await shows("#last-ends", "admin (4000), by us");
  complaints.splice(0);       // as above
});

test("events say what was done, why connections ended, and which", async () => {
  await view("#/events");
  await shows(".happenings", "/v1/connections/");
  await shows("#ends", "somebody ended it by the admin address");
  const rows = (reason) => page.waitForFunction((wanted) => {
    const whys = [...document.querySelectorAll("#last-ends td:nth-child(2)")];
    return whys.length > 0 && whys.every((one) => one.textContent.startsWith(wanted));
  }, reason);
  await page.selectOption("#ends-reason", "admin");
  await rows("admin");
  await page.reload();
  assert.equal(await page.inputValue("#ends-reason"), "admin");
  await rows("admin");
  await page.click("#ends a >> text=peer_closed");
  await rows("peer_closed");
  assert.equal(await page.evaluate(() => location.hash), "#/events?reason=peer_closed");
  await page.selectOption("#ends-reason", "too_big");
  await shows(".empty", "None that is remembered.");
});

test("the log tells of the frames of a connection, after a question", async () => {
  const { connections: [{ id }] } = await api("v1/connections?user=bob");
  await view(`#/connection/${id}`);
  await page.click("#trace");
  await page.fill("dialog [name=seconds]", "7");
  await page.click("dialog button.main");
  await shows(".notice", "The log has a line for each of its frames for 7 s.");
  const { happenings } = await api("v1/recent");
  assert.ok(happenings.some(({ text }) => text.startsWith("POST /v1/trace") && text.includes(id)));
});

test("topics are listed by how they begin, and one tells what it keeps", async () => {
  await view("#/topics");
  await shows("#topics", "rooms/kitchen");
  await shows("#topics-card .head", "by most subscribers");
  const sizes = (await page.locator("#topics td:nth-child(2)").allTextContents()).map(Number);
  assert.deepEqual(sizes, [...sizes].sort((one, other) => other - one));
  await page.fill("#prefix", "rooms/kit");
  await page.press("#prefix", "Enter");
  await page.waitForFunction(() => document.querySelectorAll("#topics tbody tr").length === 1);
  await page.fill("#prefix", "attic");
  await page.press("#prefix", "Enter");
  await shows(".empty", "No topic begins with “attic”");
  await view(topicHash("rooms/kitchen"));
  await shows("#members", "bob");
  await shows("#messages-card", "None is kept now.");
  await shows("#topic-figures", "Subscribers1");
});

test("a message is published on a topic after a question, and is in its history", async () => {
  await page.selectOption("#publish-card select", "json");
  await page.fill("#publish-card textarea", "{ no");
  await page.click("#publish-card button");
  await shows("#publish-card .notice", "This is not JSON");
  const long = "y".repeat(2000);
  const json = `{"id": 12345678901234567890, "long": "${long}"}`;
  await page.fill("#publish-card textarea", json);
  await page.click("#publish-card button");
  await shows("dialog", "It is for 1 subscriber now.");
  await page.click("dialog button.main");
  await shows("#publish-card .notice", "Sent to 1 connection, as message 1 of epoch");
  assert.equal(await page.inputValue("#publish-card textarea"), "");
  await hears("bob", json);
  await shows("#messages", "12345678901234567890");
  assert.ok((await page.textContent("#messages pre")).length < 1000);
  await page.click("#messages button");
  assert.match(await page.textContent("#messages pre"), /^\{\n {2}"id": 12345678901234567890,/);
  assert.ok((await page.textContent("#messages pre")).includes(long));
  await say("bob", "spoken by bob");
  await page.waitForFunction(() =>
    document.querySelector("#messages li").textContent.includes("spoken by bob"));
  await shows("#messages", "bob");
  await page.click("text=Its connections");
  await shows("#connections", "bob");
});

test("JSON is published as it was typed, also by a browser that cannot keep digits", async () => {
  await view(topicHash("rooms/kitchen"));
  await page.evaluate(() => { delete JSON.rawJSON; });
  await page.selectOption("#publish-card select", "json");
  const typed = '{"b": 98765432109876543210, "a": 1.0, "a": 1e300}';
  for (const wrong of [`${typed}, "text": "x"`, `${typed}}, {`, ""]) {
    await page.fill("#publish-card textarea", wrong);
    await page.click("#publish-card button");
    await shows("#publish-card .notice", "This is not JSON");
  }
  await page.fill("#publish-card textarea", typed);
  await page.click("#publish-card button");
  await page.click("dialog button.main");
  await shows("#publish-card .notice", "Sent to 1 connection");
  await hears("bob", typed);
});

const firstMessage = (text) => page.waitForFunction((wanted) =>
  document.querySelector("#messages li .message")?.textContent === wanted, text);

test("a topic that is gone has no messages, and the next of its name only its own", async () => {
  const position = async () => (await api("v1/topics/rooms%2Fagain")).position;
  const destroy = async () => {
    const answer = await fetch(admin("v1/topics/rooms%2Fagain"), { method: "DELETE" });
    assert.ok(answer.ok, String(answer.status));
  };
  await join("old", room("again", "old"));
  await say("old", "of before");
  await view(topicHash("rooms/again"));
  await firstMessage("of before");
  const before = await position();
  // Another one is there before the page has asked again.
  await page.click("#pause");
  await destroy();
  await join("new", room("again", "new"));
  await say("new", "of now");
  await hears("new", "of now");
  const now = await position();
  assert.equal(now.offset, before.offset);
  assert.notEqual(now.epoch, before.epoch);
  await page.click("#pause");
  await firstMessage("of now");
  assert.equal(await page.locator("#messages li").count(), 1);
  // Or there is none for a while.
  await destroy();
  await shows(".notice", "There is no such topic now");
  assert.equal(await page.locator("#messages li").count(), 0);
  await showsOnly("#members .empty", "Nobody.");
  await shows("#topic-figures", "Subscribers–");
  await join("newest", room("again", "newest"));
  await say("newest", "of later");
  await firstMessage("of later");
  for (const name of ["old", "new", "newest"]) await leave(name);
  complaints.splice(0);       // the browser logs each answer with 404
});

test("an answer that does not come is asked for again, and nothing is published twice", async () => {
  await view(topicHash("rooms/kitchen"));
  await page.fill("#publish-card textarea", "once and no more");
  await page.click("#publish-card button");
  // The gateway does it, and the answer is lost.
  await page.route("**/v1/publish", async (route) => {
    await route.fetch();
    await route.abort();
  });
  await page.click("dialog button.main");
  await shows("dialog .notice", "The connection failed.");
  await page.unroute("**/v1/publish");
  await page.click("dialog button.main");
  await shows("#publish-card .notice", "it had been published before");
  await hears("bob", "once and no more");
  assert.equal((await heard("bob")).filter((text) => text === "once and no more").length, 1);
  complaints.splice(0);       // the browser logs what was aborted
});

test("names are text, whatever is in them", async () => {
  for (const [at, name] of hostile.entries()) {
    await join(`hostile${at}`, room(`x${at}`, name));
    // Who has just opened may not be known by name on all shards.
    const target = { target: { user: name }, topic: name };
    while ((await gateway.post("subscribe", target)).connections === 0) await pause(50);
  }
  for (let known = []; !hostile.every((name) => known.includes(name));) {
    known = (await api("v1/topics")).topics.map(({ name }) => name);
  }
  await view("#/topics");
  for (const topic of hostile) await shows("#topics td.name", topic);
  for (const [at, name] of hostile.entries()) {
    await view("#/connections");
    await search(name, "user");
    const row = page.locator("#connections tbody tr", { hasText: `rooms/x${at}` });
    await row.locator("td.topics a", { hasText: name }).click();
    await showsOnly("h1", `Topic ${name}`);
    await shows("#topic-figures", "Subscribers1");
    await page.fill("#publish-card textarea", `to ${name}`);
    await page.click("#publish-card button");
    await page.click("dialog button.main");
    await hears(`hostile${at}`, `to ${name}`);
    await page.click("text=Its connections");
    await page.locator("#connections td.id a").click();
    await shows("#facts-card", name);
    await shows("#subscriptions", name);
  }
  await view("#/");
  const { topics: [largest] } = await api("v1/overview");
  await shows("#topics", largest.name);
  assert.equal(await page.locator("img").count(), 0);
  for (const hash of ["#/topic/%", "#/nonsense", "#/__proto__", "#/topic/%E0%A4%A"]) {
    await view(hash);
    await shows("main", "leads to nothing");
  }
});

test("the configuration tells what runs, and no secret", async () => {
  await view("#/configuration");
  await shows("#listeners", `127.0.0.1:${gateway.port}`);
  await shows("#routes-table", "hub?topic=rooms/{room}&user=query.user");
  await shows("#rules", "history = 50");
  await shows("#settings", "connections200");
  await shows("#gateway-card", "none: whoever reaches the address may do everything");
});

test("counters have the names of /metrics, and its sums", async () => {
  await view("#/counters");
  await page.fill("#counters-filter", "refusals");
  await shows("#counters", "tidegate_refusals_total{reason=\"not_found\"}");
  const metrics = await (await fetch(admin("metrics"))).text();
  const samples = [...metrics.matchAll(/^tidegate_refusals_total\{.*not_found.*\} (\d+)$/gm)];
  const sum = samples.reduce((more, [, value]) => more + Number(value), 0);
  const row = page.locator("#counters tr", { hasText: "not_found" });
  assert.equal(Number(await row.locator("td").nth(2).textContent()), sum);
  const names = new Set([...metrics.matchAll(/^(\w+)/gm)].map(([, name]) => name));
  await page.fill("#counters-filter", "");
  const shown = await page.locator("#counters td.name").allTextContents();
  for (const name of shown) assert.ok(names.has(name.split("{")[0]), name);
  assert.ok(shown.includes("tidegate_received_messages_total"));
});

test("memory tells what a connection takes, and the bill to its sum", async () => {
  await view("#/memory");
  await shows("#memory-parts", "3,640 B");
  const { budget, memory } = await api("v1/overview");
  assert.equal(budget.reduce((sum, { allowed }) => sum + allowed, 0), memory.bill);
  assert.equal(await page.locator("#bill tbody tr").count(), budget.length);
});

async function viewsOf() {
  const { connections: [{ id }] } = await api("v1/connections?user=bob");
  return {
    overview: "#/", connections: "#/connections", connection: `#/connection/${id}`,
    nobody: "#/connections?user=nobody", topics: "#/topics", topic: topicHash("rooms/kitchen"),
    events: "#/events", configuration: "#/configuration", memory: "#/memory",
    counters: "#/counters",
  };
}

for (const [device, width, height] of [["desktop", 1280, 800], ["phone", 390, 844]]) {
  for (const colorScheme of ["light", "dark"]) {
    test(`each view has a picture: ${device}, ${colorScheme}`, async () => {
      await page.setViewportSize({ width, height });
      await page.emulateMedia({ colorScheme });
      for (const [name, hash] of Object.entries(await viewsOf())) {
        await view(hash);
        await pause(600);         // for what is asked once the view is there
        const path = `${pictures}/operator-${name}-${device}-${colorScheme}.png`;
        await page.screenshot({ path, fullPage: true });
      }
      const colour = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
      const light = colour.match(/\d+/g).slice(0, 3).map(Number).reduce((sum, one) => sum + one, 0);
      assert.equal(light > 384, colorScheme === "light", colour);
    });
  }
}

test("no view is wider than a small phone, and what is touched is large enough", async () => {
  await page.setViewportSize({ width: 360, height: 740 });
  for (const [name, hash] of Object.entries(await viewsOf())) {
    await view(hash);
    await pause(600);
    const { over, small } = await page.evaluate(() => ({
      over: document.documentElement.scrollWidth - document.documentElement.clientWidth,
      small: [...document.querySelectorAll("button, select, input, summary, td a, nav a")]
        .filter((one) => one.checkVisibility() && one.getBoundingClientRect().height < 39.5)
        .map((one) => one.outerHTML.slice(0, 80)),
    }));
    assert.ok(over <= 0, `${name} is ${over} pixels too wide`);
    assert.deepEqual(small, [], name);
  }
  await page.click("#menu");
  await page.click("nav >> text=Events");
  await showsOnly("h1", "Events");
  assert.equal(await page.evaluate(() => document.activeElement.tagName), "H1");
  await page.setViewportSize({ width: 1280, height: 800 });
  await page.emulateMedia({ colorScheme: null });
});

test("words are readable before what is behind them, in both schemes", async () => {
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    for (const hash of Object.values(await viewsOf())) {
      await view(hash);
      await pause(300);
      assert.deepEqual(await page.evaluate(pale), [], `${colorScheme} ${hash}`);
    }
  }
  await page.emulateMedia({ colorScheme: null });
});

// The words whose contrast is below that of WCAG's AA, 4.5.
function pale() {
  const channels = (colour) => colour.match(/[\d.]+/g).map(Number);
  const light = (colour) => {
    const [r, g, b] = channels(colour).slice(0, 3).map((value) => {
      const part = value / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if ((channels(colour)[3] ?? 1) === 1) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const found = new Set();
  for (const element of document.body.querySelectorAll("*")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !element.checkVisibility() || element.matches(":disabled, noscript")) continue;
    const [one, other] = [getComputedStyle(element).color, behind(element)].map(light);
    const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (contrast < 4.5) found.add(`${element.textContent.slice(0, 30)}: ${contrast.toFixed(2)}`);
  }
  return [...found];
}

test("stops asking while it is paused, or its tab is hidden", async () => {
  await view("#/");
  let asked = 0;
  const count = (request) => { if (request.url().includes("/v1/")) asked += 1; };
  const isStill = async () => {
    await pause(300);             // one question may be on its way
    page.on("request", count);
    asked = 0;
    await pause(2500);
    page.off("request", count);
    assert.equal(asked, 0);
  };
  await page.click("#pause");
  await isStill();
  const goesOn = page.waitForResponse("**/v1/overview");
  await page.click("#pause");
  await goesOn;
  const hide = (hidden) => page.evaluate((value) => {
    Object.defineProperty(document, "hidden", { configurable: true, get: () => value });
    document.dispatchEvent(new Event("visibilitychange"));
  }, hidden);
  await hide(true);
  await isStill();
  const comesBack = page.waitForResponse("**/v1/overview");
  await hide(false);
  await comesBack;
});

test("nothing is wrong with what is not told", async () => {
  for (const json of [{}, { shards: [null, {}], memory: null, topics: "no", budget: [{}] }]) {
    await page.route("**/v1/{overview,recent,config}", (route) => route.fulfill({ json }));
    for (const hash of ["#/", "#/events", "#/memory", "#/configuration"]) {
      await page.goto("about:blank");
      await page.goto(admin(hash));
      await page.waitForSelector("main[data-stale=false]");
      await pause(200);
    }
    await page.goto(admin("#/"));
    await showsOnly("#tile-connections .figure", "–");
    await page.unroute("**/v1/{overview,recent,config}");
  }
});

test("no error was logged, and no policy broken, so far", () => {
  assert.deepEqual(complaints, []);
});

test("before the first stretch is over, nothing is said of the hour", async () => {
  await page.route("**/v1/recent", (route) => route.fulfill({ json: { stretches: [] } }));
  await view("#/");
  await shows("#tile-refusals", "not known yet");
  const said = await page.locator(".plot-empty").allTextContents();
  assert.deepEqual(new Set(said), new Set(["Not known yet."]));
  await view("#/events");
  await shows("#ends-card .empty", "Not known yet.");
  await page.unroute("**/v1/recent");
});

test("a gateway that is full says so", async () => {
  const told = await api("v1/overview");
  await page.route("**/v1/overview", (route) =>
    route.fulfill({ json: { ...told, state: "full" } }));
  await page.goto(admin("#/"));
  await showsOnly("#state", "full");
  assert.match(await page.title(), /^full · /);
  await page.unroute("**/v1/overview");
});

test("certificates have the days that they have left, and failed handshakes their reasons", async () => {
  await view("#/");
  assert.equal(await page.isVisible("#tls-card"), false, "no listener speaks TLS");
  const of = (names, days_left, doubts = []) =>
    ({ file: "/etc/own.pem", names, days_left, not_after: "2027-01-01T00:00:00.000Z", doubts });
  const certificates = [of([], -1), of(["<b>a.org"], 13, ["it expires soon"]),
    of(["b.org", "c.org"], 14)];
  const tls = { handshakes: 1234, resumed: 34, in_progress: 2, certificates,
    failed: { unknown_ca: 1, plain_http: 7 }, broken: {} };
  const told = await api("v1/overview");
  await page.route("**/v1/overview", (route) => route.fulfill({ json: { ...told, tls } }));
  await shows("#tls-card", "1,234 handshakes, 34 of them resumed; 2 in progress");
  const texts = (selector) => page.locator(selector).allTextContents();
  assert.deepEqual(await texts("#certificates td"),
    ["no name", "expired", "<b>a.org", "13 days", "b.org and 1 more", "14 days"]);
  assert.deepEqual(await texts("#certificates td[data-level=full]"), ["expired", "13 days"]);
  assert.match(await page.locator("#certificates td").nth(2).getAttribute("title"), /it expires/);
  assert.deepEqual(await texts("#handshake-failures td"), ["plain_http", "7", "unknown_ca", "1"]);
  await page.unroute("**/v1/overview");
});

test("a rate is told once it was seen for long enough", async () => {
  const rates = await page.evaluate(async () => {
    const { Rate } = await import("/page/rate.js");
    const now = performance.now.bind(performance);
    const rate = new Rate();
    const of = (second, value, epoch) => {
      performance.now = () => 1000 * second;
      return rate.of(value, epoch);
    };
    const found = [of(0, 0), of(4, 40), of(5, 50), of(12, 120), of(15, 120), of(22, 120),
      of(23, 5), of(29, 65), of(30, 66, "other"), of(36, undefined, "other")];
    performance.now = now;
    return found.map((one) => one ?? null);
  });
  assert.deepEqual(rates, [null, null, 10, 10, 7, 0, null, 10, null, null]);
});

test("a word that is a reason of ends and of refusals has the meaning of each", async () => {
  const time = new Date().toISOString();
  const stretches = [{ time, refusals: { handler: 2, forbidden: 1 }, ends: { handler: 3 } }];
  await page.route("**/v1/recent", (route) => route.fulfill({ json: { stretches } }));
  await view("#/events");
  await shows("#refusals tr", "its handler refused it, with an answer of its own");
  await shows("#ends tr", "its handler ended it");
  assert.ok(!(await page.textContent("#refusals")).includes("ended it"));
  await view("#/");
  for (const [title, hint] of [["Refused requests", "its handler refused it, with an answer of " +
    "its own"], ["Ended connections", "its handler ended it"]]) {
    const chart = page.locator(".chart", { has: page.locator("h2", { hasText: title }) });
    await chart.locator(`.legend li[title="${hint}"]`, { hasText: "handler" }).waitFor();
  }
  await page.unroute("**/v1/recent");
});

test("the console is where a browser can read it", async () => {
  const addressOf = (config) => page.evaluate(async (told) => {
    const { consoleAddress } = await import("/page/configuration.js");
    return consoleAddress(told);
  }, config);
  const of = (stack, port) => ({ address: `127.0.0.1:${port}`, stack });
  const routes = [
    { path: "/spoken", subprotocol: "tidegate.v1", handler: "static" },
    { path: "/{any}", handler: "static" }, { path: "/page", handler: "static" },
  ];
  const plain = of("log!ws?ping=1m!log!tcp?backlog=9", 2);
  assert.equal(await addressOf({ listeners: [of("ws!tls!tcp", 1), plain], routes }),
    "http://127.0.0.1:2/page");
  assert.equal(await addressOf({ listeners: [of("ws!tls!tcp", 1)], routes }), undefined);
  assert.equal(await addressOf({ listeners: [plain], routes: routes.slice(0, 2) }), undefined);
});

test("what one part cannot be told is said there, and the rest goes on", async () => {
  const error = { code: "no_answer", message: "a shard did not answer", hint: "try again" };
  await page.route("**/v1/recent", (route) => route.fulfill({ status: 503, json: { error } }));
  await view("#/");
  await shows("main .notice", "A shard did not answer – try again.");
  await page.waitForFunction(() =>
    document.querySelector("#tile-memory .figure").textContent.includes("MiB"));
  await page.unroute("**/v1/recent");
  // An error may say nothing.
  const json = { error: { code: "no_answer", message: "" } };
  await page.route("**/v1/overview", (route) => route.fulfill({ status: 503, json }));
  await shows("#trouble-text", "It answered 503.");
  await page.unroute("**/v1/overview");
  await page.waitForSelector("#state[data-state=ready]");
});

test("says so when the gateway is gone, and comes back by itself with the next one", async () => {
  await view("#/");
  await gateway.end();
  await page.waitForSelector("#trouble:not([hidden])");
  await shows("#trouble-text", "The connection failed.");
  assert.equal(await page.getAttribute("#view", "data-stale"), "true");
  assert.match(await page.title(), /^unreachable · /);
  await shows("#trouble-when", "old. Trying again");
  await gateway.again();
  await page.click("#again");
  await page.waitForSelector("#state[data-state=ready]");
  assert.equal(await page.isHidden("#trouble"), true);
  assert.equal(await page.getAttribute("#view", "data-stale"), "false");
  await showsOnly("#tile-connections .figure", "0");
});

test("asks for a token, refuses a wrong one, and keeps the right one for this tab", async () => {
  await gateway.close();
  gateway = await Gateway.start(`${config}\n[admin]\ntokens = ["${token}"]\n`);
  const enter = async (text) => {
    await page.waitForSelector("#token-form:not([hidden])");
    await page.fill("#token", text);
    await page.press("#token", "Enter");
  };
  await page.goto(admin("#/configuration"));
  await page.waitForSelector("#token-form:not([hidden])");
  for (const id of ["#view", "#nav", "#pause"]) assert.equal(await page.isHidden(id), true, id);
  await enter("a wrong one");
  await page.waitForSelector("#token-wrong:not([hidden])");
  await enter("wrong");
  await page.waitForSelector("#token-wrong:not([hidden])");
  await enter(token);
  await page.waitForSelector("#state[data-state=ready]");
  assert.equal(await page.isHidden("#token-form"), true);
  assert.equal(await page.isVisible("#pause"), true);
  await shows("#gateway-card", "1, which are not shown");
  assert.ok(!(await page.textContent("body")).includes(token));
  await page.reload();
  await page.waitForSelector("#state[data-state=ready]");
  assert.equal(await page.evaluate(() => Object.values(sessionStorage).length), 1);
  assert.equal(await page.evaluate(() => Object.values(localStorage).length), 0);
  // What opens in a tab beside, which has no token.
  for (const [link, text] of [["Metrics", "tidegate_connections"], ["API", "\"openapi\""]]) {
    const opens = browser.waitForEvent("page");
    await page.click(`#links >> text=${link}`);
    const beside = await opens;
    await beside.locator("body", { hasText: text }).waitFor();
    await beside.close();
  }
});
