// Two rooms through restarts of the gateway and cuts of the network, at random: what is published is
// heard once and in order, or a gap is told; what was acknowledged is there, once.
//
//     node storm.mjs [ROUNDS] [nginx]       15 rounds, each with a restart, if it does not say
//     deno run -A storm.mjs [ROUNDS]
//
// With `nginx`, clients come through /usr/sbin/nginx. Exit code 0 and one line if all held, 1 and a line
// for each thing that did not.

import process from "node:process";
import { connect } from "../../../tools/js/tidegate.js";
import { CONFIG } from "./config.mjs";
import { Gateway, pause } from "./gateway.mjs";
import { at, checkHeard, said } from "./hearing.mjs";
import { startNginx } from "./nginx.mjs";
import { Proxy } from "./proxy.mjs";
import { socketOption } from "./socket.mjs";

const rounds = Number(process.argv[2] ?? 15);
const behindNginx = process.argv[3] === "nginx";
const ROOMS = ["rooms/a", "rooms/b"];
const IN_FLIGHT = 8;
const END_MS = 60_000;
const options = { ...await socketOption(), delay: 20, delayMax: 300 };

const wrong = [];
const complain = (text) => { if (wrong.push(text) > 50) finish(); };
const between = (from, to) => from + Math.random() * (to - from);

// What one client hears, by room: messages, and where a gap was told.
class Listener {
  heard = Object.fromEntries(ROOMS.map((topic) => [topic, []]));
  gaps = 0;

  constructor(name, client, rooms) {
    Object.assign(this, { name, client });
    for (const room of rooms) {
      room.on("message", ({ topic, epoch, offset, data }) => {
        this.heard[topic].push({ epoch, offset, ...data });
      });
      room.on("gap", ({ topic }) => {
        this.gaps += 1;
        this.heard[topic].push({ gap: true });
      });
    }
    client.on("error", (error) => complain(`${name}: ${error.code} ${error.message}`));
    client.on("state", ({ state, why }) => {
      if (state === "closed" && !this.over) complain(`${name} has given up: ${why}`);
    });
  }
}

class Publisher {
  acknowledged = [];
  #open = 0; #number = 0; #running = true;

  constructor(name, client) {
    Object.assign(this, { name, client });
    this.#run();
  }

  async #run() {
    while (this.#running) {
      await pause(between(1, 8));
      // Whoever has stopped meanwhile says nothing more: nobody would wait for its answer.
      if (!this.#running || this.#open >= IN_FLIGHT) continue;
      const topic = ROOMS[Math.floor(Math.random() * ROOMS.length)];
      this.say(topic);
    }
  }

  async say(topic) {
    const said = { from: this.name, number: this.#number += 1 };
    this.#open += 1;
    try {
      const { epoch, offset, repeated } = await this.client.room(topic).publish(said);
      this.acknowledged.push({ topic, epoch, offset, repeated, ...said });
    } catch (error) {
      complain(`${this.name} could not publish: ${error.code} ${error.message}`);
    }
    this.#open -= 1;
  }

  async stop() {
    this.#running = false;
    const deadline = Date.now() + END_MS;
    while (this.#open && Date.now() < deadline) await pause(20);
    if (this.#open) complain(`${this.name}: ${this.#open} messages were not acknowledged`);
  }
}

// All that the gateway keeps of a topic, asked for page by page.
async function keptOf(witness, topic) {
  const room = witness.room(topic);
  const all = [];
  let since;
  for (let pages = 0; pages < 2000; pages += 1) {
    const { epoch, messages, more } = await room.history({ since, limit: 1000 });
    all.push(...messages.map(({ offset, data }) => ({ epoch, offset, ...data })));
    if (!more) return all;
    since = `${epoch}:${messages.at(-1).offset}`;
  }
  throw new Error(`the history of ${topic} does not end`);
}

// What was acknowledged before is kept, where that was said.
async function checkKept(witness, publishers) {
  for (const topic of ROOMS) {
    const before = publishers.flatMap((one) => one.acknowledged)
      .filter((ack) => ack.topic === topic);
    const kept = await keptOf(witness, topic);
    const byPlace = new Map(kept.map((one) => [at(one), said(one)]));
    const once = new Set();
    for (const one of kept) {
      if (once.has(said(one))) complain(`${topic}: ${said(one)} is kept twice`);
      once.add(said(one));
    }
    const epoch = kept[0]?.epoch;
    for (const ack of before.filter((one) => one.epoch === epoch)) {
      if (byPlace.get(at(ack)) !== said(ack)) {
        complain(`${topic} at ${at(ack)}: acknowledged ${said(ack)}, kept ${byPlace.get(at(ack))}`);
      }
    }
  }
}

async function disturb(gateway, proxy) {
  for (let times = Math.floor(between(1, 4)); times > 0; times -= 1) {
    await pause(between(50, 400));
    const kind = Math.floor(between(0, 4));
    if (kind === 0) proxy.cut();
    else if (kind === 1) proxy.cut(0.5);
    else if (kind === 2) {
      proxy.stall();
      await pause(between(20, 300));
      if (Math.random() < 0.5) proxy.cut();
      proxy.flow();
    } else {
      proxy.refuses = true;
      proxy.cut();
      await pause(between(20, 500));
      proxy.refuses = false;
    }
  }
}

async function everyoneHas(listeners, publishers) {
  const ends = publishers[0].acknowledged.slice(-ROOMS.length);
  const deadline = Date.now() + END_MS;
  for (const listener of listeners) {
    for (const end of ends) {
      while (!listener.heard[end.topic].some((one) => said(one) === said(end))) {
        if (Date.now() > deadline) {
          return complain(`${listener.name} has not heard ${said(end)} of ${end.topic}`);
        }
        await pause(20);
      }
    }
  }
}

const gateway = await Gateway.start(CONFIG);
const proxy = await Proxy.to(gateway.port);
const nginx = behindNginx ? await startNginx(proxy.port) : undefined;
const origin = `ws://127.0.0.1:${nginx?.port ?? proxy.port}`;
const clients = [];

function client(path, base = origin) {
  const made = connect(`${base}${path}`, options);
  clients.push(made);
  return made;
}

function finish(line) {
  for (const one of clients) one.close();
  proxy.close();
  nginx?.close();
  gateway.close().then(() => {
    for (const text of wrong.slice(0, 50)) console.log(`storm: ${text}`);
    if (!wrong.length) console.log(line);
    process.exit(wrong.length ? 1 : 0);
  });
}

async function listen(name, path, enter) {
  const made = client(path);
  const rooms = enter(made);
  const listener = new Listener(name, made, rooms);
  const deadline = Date.now() + END_MS;
  while (!rooms.every((room) => room.live)) {
    if (Date.now() > deadline) throw new Error(`${name} is not in its rooms`);
    await pause(10);
  }
  return listener;
}

async function run() {
  const started = Date.now();
  // One by the route's topic and a command, one by commands only.
  const listeners = [
    await listen("ann", "/rooms/a", (one) => [one.room(), one.room("rooms/b")]),
    await listen("bob", "/free", (one) => ROOMS.map((topic) => one.room(topic))),
  ];
  const publishers = ["eve", "dan"].map((name) => new Publisher(name, client("/free")));
  const witness = client("/free", `ws://127.0.0.1:${gateway.port}`);
  for (let round = 0; round < rounds; round += 1) {
    await disturb(gateway, proxy);
    await checkKept(witness, publishers);
    await gateway.end(Math.random() < 0.5 ? "SIGTERM" : "SIGKILL");
    await pause(between(0, 300));
    await gateway.again();
  }
  await disturb(gateway, proxy);
  await Promise.all(publishers.map((one) => one.stop()));
  for (const topic of ROOMS) await publishers[0].say(topic);
  await everyoneHas(listeners, publishers);
  await checkKept(witness, publishers);
  for (const listener of listeners) {
    listener.over = true;
    const acknowledged = publishers.flatMap((one) => one.acknowledged);
    checkHeard(listener.name, listener.heard, acknowledged, complain);
  }
  const acknowledged = publishers.flatMap((one) => one.acknowledged);
  const heard = listeners.flatMap((one) => ROOMS.flatMap((topic) => one.heard[topic]));
  const gaps = listeners.reduce((sum, one) => sum + one.gaps, 0);
  const repeated = acknowledged.filter((one) => one.repeated).length;
  const seconds = Math.round((Date.now() - started) / 1000);
  return `storm: ${rounds} restarts, ${acknowledged.length} messages acknowledged (${repeated} of them`
    + ` sent again), ${heard.length - gaps} heard, ${gaps} gaps told, ${seconds} s`;
}

let line;
try {
  line = await run();
} catch (error) {
  complain(error.stack);
}
finish(line);
