// What tidegate.js does, one thing after another, at a gateway of its own.
//
//     node behaviour.mjs        deno run -A behaviour.mjs
//
// Exit code 0 and one line if all held, 1 and a line for each thing that did not.

import { deepStrictEqual as equal, ok, rejects } from "node:assert";
import { createHmac, randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { gzipSync } from "node:zlib";
import { connect } from "../../../tools/js/tidegate.js";
import { CONFIG } from "./config.mjs";
import { Gateway, pause } from "./gateway.mjs";
import { Proxy } from "./proxy.mjs";
import { socketOption } from "./socket.mjs";

const SIZE_MAX = 6 << 10;
const WAIT_MS = 10_000;
const quick = { ...await socketOption(), delay: 20, delayMax: 200 };
const folder = mkdtempSync(join(tmpdir(), "tidegate-tokens-"));
const secret = randomBytes(32).toString("hex");
writeFileSync(join(folder, "secret"), `${secret}\n`);
const TOKENS = `
[[jwt]]
secrets = ["${join(folder, "secret")}"]
leeway = "0s"
[[route]]
path = "/tokens/{room}"
handler = "hub?topic=rooms/{room}&publish=users"
origins = ["same", "http://127.0.0.1:*"]
admission = ["jwt"]
`;
const gateway = await Gateway.start(CONFIG + TOKENS);
const base = `ws://127.0.0.1:${gateway.port}`;
const clients = [];

function client(url, options) {
  const made = connect(url, { ...quick, ...options });
  made.states = [];
  made.on("state", (told) => made.states.push(told));
  clients.push(made);
  return made;
}

async function until(what, holds) {
  const deadline = Date.now() + WAIT_MS;
  while (!await holds()) {
    if (Date.now() > deadline) throw new Error(`${what}: not within ${WAIT_MS} ms`);
    await pause(10);
  }
}

// What is told by that name, as a growing list.
function hearing(emitter, ...names) {
  const all = [];
  for (const name of names) emitter.on(name, (told) => all.push(told));
  return all;
}

async function entered(url, topic, options) {
  const made = client(url);
  const room = made.room(topic, options);
  await until(`in ${topic ?? "the route's topic"}`, () => room.live);
  return room;
}

// A token of RFC 7515, signed by HS256.
function signed(claims) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const text = `${part({ alg: "HS256", typ: "JWT" })}.${part(claims)}`;
  return `${text}.${createHmac("sha256", secret).update(text).digest("base64url")}`;
}

const failsWith = (code) => (error) => error.name === "TidegateError" && error.code === code;

const tests = {
  async "the file is small"() {
    const file = readFileSync(new URL("../../../tools/js/tidegate.js", import.meta.url));
    const bytes = gzipSync(file, { level: 9 }).length;
    ok(bytes < SIZE_MAX, `${bytes} bytes compressed, and ${SIZE_MAX} are the limit`);
  },

  async "a token is shown anew at each attempt, and says who it is"() {
    let shown = 0;
    const seconds = () => Math.floor(Date.now() / 1000);
    const token = async () => signed({ sub: "ann", exp: seconds() + 2, jti: shown += 1 });
    const made = client(`${base}/tokens/a`, { token });
    const room = made.room();
    await until("let in", () => room.live);
    equal(made.hello.user, "ann");
    const offset = (await room.publish("by ann")).offset;
    await until("back with another token", () => shown > 1 && room.live);
    ok(made.states.some(({ code, word }) => code === 4401 && word === "token_expired"),
      JSON.stringify(made.states));
    equal((await room.publish("again")).offset, offset + 1);
    const none = client(`${base}/tokens/a`);
    await until("kept out", () => none.states.some(({ state }) => state === "waiting"));
    ok(none.states.every(({ state }) => state !== "open"));
  },

  async "text, JSON and bytes come as they were, with who and where"() {
    const one = await entered(`${base}/rooms/content?user=ann`);
    const told = hearing(one, "message");
    equal(one.topic, "rooms/content");
    const first = await one.publish("héllo");
    await one.publish({ x: [1, null] });
    await one.publish(new Uint8Array([0, 255, 128]));
    await until("three messages", () => told.length === 3);
    equal(told.map(({ data }) => data), ["héllo", { x: [1, null] }, new Uint8Array([0, 255, 128])]);
    equal(told.map(({ offset }) => offset), [1, 2, 3]);
    equal([first.epoch, first.offset], [told[0].epoch, 1]);
    equal(told[0].user, "ann");
    ok(Math.abs(Date.parse(told[0].time) - Date.now()) < 60_000);
    equal(one.position, `${first.epoch}:3`);
  },

  async "who is there is kept"() {
    const ann = await entered(`${base}/rooms/present?user=ann`);
    const told = hearing(ann, "join", "leave");
    const bob = await entered(`${base}/rooms/present?user=bob`);
    const users = (room) => room.members.map(({ user }) => user).sort();
    await until("bob has come", () => told.some(({ user }) => user === "bob"));
    equal([users(ann), users(bob), ann.total], [["ann", "bob"], ["ann", "bob"], 2]);
    const listed = await ann.presence();
    equal([listed.total, listed.members.map(({ user }) => user)], [2, ["ann", "bob"]]);
    bob.client.close();
    await until("bob has gone", () => ann.total === 1);
    equal([users(ann), told.at(-1).type], [["ann"], "leave"]);
  },

  async "history is read, and the last messages are told to who asks"() {
    const one = await entered(`${base}/rooms/past`);
    for (let n = 0; n < 5; n += 1) await one.publish({ n });
    const { messages, more } = await one.history({ limit: 2 });
    equal([messages.map(({ data }) => data.n), more], [[0, 1], true]);
    const other = client(`${base}/rooms/past`);
    const room = other.room(undefined, { last: 2 });
    const told = hearing(room, "subscribed", "message", "replayed");
    await until("told", () => told.at(-1)?.type === "replayed");
    equal(told.map(({ type, data }) => data?.n ?? type), ["subscribed", 3, 4, "replayed"]);
    const third = client(`${base}/free`);
    const since = third.room("rooms/past", { since: `${told[0].epoch}:3` });
    const behind = hearing(since, "message");
    await until("told", () => behind.length === 2);
    equal(behind.map(({ data }) => data.n), [3, 4]);
  },

  async "rooms are iterated over"() {
    const one = await entered(`${base}/rooms/iterated`);
    const all = (async () => {
      const heard = [];
      for await (const { data } of one) heard.push(data);
      return heard;
    })();
    await one.publish("a");
    await one.publish("b");
    await pause(50);
    one.leave();
    equal(await all, ["a", "b"]);
  },

  async "a room is left, and entered again"() {
    const one = await entered(`${base}/free`, "rooms/left");
    const told = hearing(one, "message", "unsubscribed");
    const made = one.client;
    const other = await entered(`${base}/rooms/left`);
    one.leave();
    equal(told.map(({ type }) => type), ["unsubscribed"]);
    await other.publish("to nobody");
    const again = made.room("rooms/left");
    ok(again !== one);
    await until("in again", () => again.live);
    const heard = hearing(again, "message");
    await other.publish("to both");
    await until("heard", () => heard.length === 1);
    equal([heard[0].data, told.length], ["to both", 1]);
  },

  async "what is not allowed, or too large, is refused"() {
    const one = client(`${base}/rooms/refused`);
    const errors = hearing(one, "error");
    const room = one.room("secret/room");
    const ended = hearing(room, "unsubscribed");
    await until("refused", () => ended.length === 1);
    equal([errors[0].code, errors[0].topic, ended[0].error.code],
      ["not_allowed", "secret/room", "not_allowed"]);
    equal(one.rooms.map(({ topic }) => topic), ["rooms/refused"]);
    await rejects(room.publish("x"), failsWith("not_allowed"));
    await rejects(one.publish("x".repeat(one.hello.max_message)), failsWith("too_large"));
    await one.publish("still open");
    equal(one.state, "open");
  },

  async "messages from behind the gateway come to the connection, its user and its topics"() {
    const one = await entered(`${base}/rooms/pushed?user=pushed`);
    const made = one.client;
    const pushed = hearing(made, "push");
    const told = hearing(one, "message");
    const { connection } = made.hello;
    await gateway.post("publish", { target: { user: "pushed" }, text: "to the user" });
    await gateway.post("publish", { target: { connection }, json: { to: "it" } });
    await gateway.post("publish", { target: { topic: "rooms/pushed" }, text: "to all" });
    await until("all heard", () => pushed.length === 2 && told.length === 1);
    // They come by ways of their own, in either order.
    equal(Object.fromEntries(pushed.map(({ to, data }) => [to, data])),
      { user: "to the user", connection: { to: "it" } });
    equal([told[0].data, told[0].user, told[0].connection], ["to all", undefined, undefined]);
  },

  async "a subscription from behind the gateway comes back after a cut"() {
    const proxy = await Proxy.to(gateway.port);
    const made = client(`ws://127.0.0.1:${proxy.port}/free`);
    const met = hearing(made, "room");
    await until("open", () => made.state === "open");
    const topic = "secret/resumed";
    await gateway.post("subscribe", { target: { connection: made.hello.connection }, topic });
    await until("subscribed", () => met.length === 1);
    const before = made.hello.connection;
    proxy.cut();
    await until("back", () => made.hello && made.hello.connection !== before && met[0].live);
    const told = hearing(met[0], "message");
    await gateway.post("publish", { target: { topic }, text: "still here" });
    await until("heard", () => told.length === 1);
    proxy.close();
  },

  async "whoever subscribes the connection first hides nothing that was missed"() {
    const proxy = await Proxy.to(gateway.port);
    const made = client(`ws://127.0.0.1:${proxy.port}/free`);
    const topic = "rooms/first";
    const room = made.room(topic);
    const told = hearing(room, "message", "gap");
    await until("in", () => room.live);
    const say = (text) => gateway.post("publish", { target: { topic }, text });
    await say("heard");
    await until("heard", () => told.length === 1);
    const before = made.hello.connection;
    proxy.deafens = true;
    proxy.cut();
    await say("missed");
    await until("back", () => made.hello && made.hello.connection !== before);
    const connection = made.hello.connection;
    await gateway.post("subscribe", { target: { connection }, topic });
    await say("live");
    // That has come: it is on the same connection, and comes behind.
    const pushed = hearing(made, "push");
    await gateway.post("publish", { target: { connection }, text: "so far" });
    await until("the push", () => pushed.length === 1);
    proxy.listen();
    await until("all", () => told.length === 3);
    await say("on");
    await until("on", () => told.length === 4);
    equal(told.map(({ data, gap }) => data ?? gap), ["heard", "missed", "live", "on"]);
    proxy.close();
  },

  async "a gap is told: the messages are no longer kept, or nothing is kept"() {
    const proxy = await Proxy.to(gateway.port);
    const made = client(`ws://127.0.0.1:${proxy.port}/free`);
    const short = made.room("rooms/gap", { since: "00000001:7" });
    const told = hearing(short, "gap", "message");
    await until("told", () => told.length === 1);
    equal(told[0].gap, true);
    proxy.close();
  },

  async "offline, what is published waits, up to a bound, and goes out in order"() {
    const proxy = await Proxy.to(gateway.port);
    proxy.refuses = true;
    const made = client(`ws://127.0.0.1:${proxy.port}/rooms/queue`, { queue: 3 });
    const room = made.room();
    const told = hearing(room, "message");
    const sent = ["a", "b", "c"].map((text) => room.publish(text));
    await rejects(room.publish("d"), failsWith("queue_full"));
    await until("it waits", () => made.states.some(({ state }) => state === "waiting"));
    const waiting = made.states.find(({ state }) => state === "waiting");
    equal([waiting.opened, waiting.comeBack], [false, true]);
    proxy.refuses = false;
    equal((await Promise.all(sent)).map(({ offset }) => offset), [1, 2, 3]);
    await until("heard", () => told.length === 3);
    equal(told.map(({ data }) => data), ["a", "b", "c"]);
    proxy.close();
  },

  async "what was not answered in time is given up"() {
    const made = client("ws://127.0.0.1:1/rooms/late", { timeout: 1000 });
    await rejects(made.publish("late"), failsWith("timeout"));
  },

  async "the URL is asked for before each attempt, and may fail"() {
    let asked = 0;
    const made = client(async () => {
      asked += 1;
      if (asked === 1) throw new Error("no token yet");
      return `http://127.0.0.1:${gateway.port}/rooms/url?token=${asked}`;
    });
    await until("open", () => made.state === "open");
    equal(asked, 2);
    ok(made.states.some(({ state, why }) => state === "waiting" && /no token yet/.test(why)));
    await gateway.post("disconnect", {
      target: { connection: made.hello.connection }, code: 4000, reason: "again",
    });
    await until("another attempt", () => asked === 3 && made.state === "open");
  },

  async "reasons decide whether it comes back, and the application may say otherwise"() {
    const end = (made, code, reason) => gateway.post("disconnect", {
      target: { connection: made.hello.connection }, code, reason,
    });
    const done = client(`${base}/rooms/done`);
    const asked = [];
    const stays = client(`${base}/rooms/stays`, {
      comeBack: (told) => { asked.push(told); return told.word !== "banned"; },
    });
    await until("open", () => done.state === "open" && stays.state === "open");
    const room = done.room();
    await end(done, 1000, "done");
    await until("closed", () => done.state === "closed");
    await rejects(room.publish("x"), failsWith("closed"));
    await end(stays, 4001, "moved: elsewhere");
    await until("asked", () => asked.length === 1);
    await until("back", () => stays.state === "open");
    await end(stays, 4001, "banned: for spam");
    await until("closed", () => stays.state === "closed");
    equal(asked.map(({ code, word, opened }) => [code, word, opened]),
      [[4001, "moved", true], [4001, "banned", true]]);
    equal(stays.states.at(-1).code, 4001);
  },

  async "a connection on which nothing comes any more is given up after 35 seconds"() {
    const proxy = await Proxy.to(gateway.port);
    const made = client(`ws://127.0.0.1:${proxy.port}/rooms/dead`);
    const room = made.room();
    await until("in", () => room.live);
    proxy.stall();
    const started = Date.now();
    const given = () => made.states.some(({ state }) => state === "waiting");
    while (!given() && Date.now() - started < 60_000) await pause(100);
    const seconds = (Date.now() - started) / 1000;
    ok(seconds > 30 && seconds < 45, `${seconds} s`);
    await until("back", () => room.live);
    proxy.close();
  },
};

let failed = 0;
await Promise.all(Object.entries(tests).map(async ([name, test]) => {
  try {
    await test();
  } catch (error) {
    failed += 1;
    console.log(`behaviour: ${name}: ${error.stack}`);
  }
}));
for (const one of clients) one.close();
await gateway.close();
rmSync(folder, { recursive: true });
if (!failed) console.log(`behaviour: ${Object.keys(tests).length} things hold`);
process.exit(failed ? 1 : 0);
