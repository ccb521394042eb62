// How the gateway is, and how it came to be so.

import { ask, describe } from "./api.js";
import { Tls } from "./certificates.js";
import { Chart, pointsOf } from "./chart.js";
import { Bar, card, fill, listOf, make, Notice, setText, Table } from "./dom.js";
import { Happenings } from "./events.js";
import {
  bytes, bytesPerSecond, clock, duration, isNumber, millis, percent, perSecond, roundUpBytes, short,
  whole,
} from "./format.js";
import { busy, capacity, gateway, minuteRates, rates, shards, sums } from "./gateway.js";
import { topicHref } from "./links.js";
import { MemoryBar } from "./memory.js";
import { Poll } from "./poll.js";
import { series, totals } from "./reasons.js";
import { Shards } from "./shards.js";

export const title = "Overview";

const RECENT_MS = 10_000;
const HAPPENINGS = 8;
const TOPICS = 10;

// What is done about those that do not keep up; "loss": somebody has lost a message, or the
// connection. The names are those of /metrics.
const SLOW = [
  ["slow_peers_closed", "closed with 1013", "slow_peer_actions_total close", "loss"],
  ["peers_stalled", "stalled, dropped", "slow_peer_actions_total drop_peer", "loss"],
  ["slow_dropped_newest", "newest left out", "slow_peer_actions_total drop_newest", "loss"],
  ["slow_dropped_oldest", "oldest left out", "slow_peer_actions_total drop_oldest", "loss"],
  ["slow_conflated", "conflated", "slow_peer_actions_total conflate", ""],
  ["slow_peers_paused", "reading paused", "slow_peer_actions_total pause", ""],
  ["publishers_paused", "publishers paused", "publishers_paused_total", ""],
  ["mail_waited", "mail waited", "mail_waited_total", ""],
];

class Tile {
  #figure = make("span", { class: "figure", text: "–" });
  #note = make("span", { class: "note" });
  bar = new Bar();

  constructor(name, title, { hasBar = false } = {}) {
    this.bar.element.hidden = !hasBar;
    this.element = make("section", { class: "card tile", id: `tile-${name}`,
      "aria-labelledby": `tile-${name}-title` },
    make("h2", { id: `tile-${name}-title`, text: title }), this.#figure, this.bar.element,
    this.#note);
  }

  // One figure, or one for each way.
  show(figure, note, level = "") {
    if (typeof figure === "string") setText(this.#figure, figure);
    else {
      if (!this.#figure.firstElementChild) this.#figure.replaceChildren();
      const pair = () => make("span", { class: "way" }, make("span", { class: "small" }),
        make("span"));
      fill(this.#figure, figure, pair, ({ children: [way, value] }, [name, text]) => {
        setText(way, name);
        setText(value, text);
      });
    }
    setText(this.#note, note);
    this.element.dataset.level = level;
  }
}

class Tiles {
  #connections = new Tile("connections", "Connections", { hasBar: true });
  #refusals = new Tile("refusals", "Refused, last hour");
  #memory = new Tile("memory", "Memory", { hasBar: true });
  #messages = new Tile("messages", "Messages");
  #bytes = new Tile("bytes", "Bytes");
  #busy = new Tile("busy", "CPU of the shards", { hasBar: true });

  constructor() {
    this.element = make("div", { class: "tiles" }, [this.#connections, this.#refusals,
      this.#memory, this.#messages, this.#bytes, this.#busy].map(({ element }) => element));
  }

  show(recent) {
    const [sum, rate, minute] = [sums(), rates(), minuteRates()];
    const places = capacity();
    const share = places > 0 && isNumber(sum.connections) ? sum.connections / places : undefined;
    this.#connections.bar.show(share);
    this.#connections.show(whole(sum.connections_open),
      `${percent(share)} of ${whole(places)} places taken`, share >= 0.85 ? "high" : "");
    const refused = totals(listOf(recent?.stretches), "refusals");
    const total = refused.reduce((more, one) => more + one.total, 0);
    const perMinute = minute.refusals > 0 ? `${short(Math.ceil(minute.refusals))}/min now`
      : "none now";
    // The first stretch has to be over.
    const isKnown = listOf(recent?.stretches).length > 0;
    this.#refusals.show(isKnown ? whole(total) : "–", !isKnown ? "not known yet"
      : total > 0 ? `${perMinute}; most: ${refused[0].reason}` : perMinute,
      minute.refusals > 0 ? "high" : "");
    const { resident, allowed } = gateway.overview.memory ?? {};
    const used = isNumber(resident) && allowed > 0 ? resident / allowed : undefined;
    this.#memory.bar.show(used);
    this.#memory.show(bytes(resident), `${percent(used)} of ${bytes(allowed)} allowed`,
      used >= 0.85 ? "high" : "");
    this.#messages.show([["in", perSecond(rate.messages_in)],
      ["out", perSecond(rate.messages_out)]], "");
    this.#bytes.show([["in", bytesPerSecond(rate.bytes_in)],
      ["out", bytesPerSecond(rate.bytes_out)]], "");
    const shares = shards().map((shard) => busy(shard.rates.loop_nanoseconds)).filter(isNumber);
    const mean = shares.length ? shares.reduce((more, one) => more + one, 0) / shares.length
      : undefined;
    this.#busy.bar.show(mean);
    const most = Math.max(0, ...shares);
    const busiest = `the busiest of ${shares.length} works ${percent(most)}`;
    this.#busy.show(percent(mean), shares.length > 1 ? busiest : "of one shard’s time",
      most >= 0.85 ? "high" : "");
  }
}

class Hour {
  #connections = new Chart("Connections", { format: short });
  #messages = new Chart("Messages per second", { format: perSecond });
  #bytes = new Chart("Bytes per second", { format: bytesPerSecond, round: roundUpBytes });
  #refusals = new Chart("Refused requests", { kind: "bars", empty: "None was refused." });
  #ends = new Chart("Ended connections", { kind: "bars", empty: "None has ended." });
  #busy = new Chart("CPU of the shards", { format: percent, round: (most) => (most > 0.5 ? 1
    : most > 0.1 ? 0.5 : 0.1) });
  memory = new Chart("Memory over the hour", { format: bytes, round: roundUpBytes });

  constructor() {
    const charts = [this.#connections, this.#messages, this.#bytes, this.#refusals, this.#ends,
      this.#busy];
    this.element = make("div", { class: "charts" }, charts.map(({ element }) => element));
  }

  show(recent) {
    const points = pointsOf(recent, millis);
    const seconds = isNumber(recent.stretch_seconds) ? recent.stretch_seconds : 10;
    const plain = (key) => (point) => point[key];
    const each = (key) => (point) => (isNumber(point[key]) ? point[key] / seconds : undefined);
    const draw = (chart, lines) => chart.show(points, lines, seconds * 1000);
    draw(this.#connections, [
      { label: "open", colour: 1, value: plain("connections") },
    ]);
    draw(this.#messages, [
      { label: "in", colour: 1, value: each("messages_in") },
      { label: "out", colour: 2, value: each("messages_out") },
    ]);
    draw(this.#bytes, [
      { label: "in", colour: 1, value: each("bytes_in") },
      { label: "out", colour: 2, value: each("bytes_out") },
    ]);
    draw(this.#refusals, series(points, "refusals"));
    draw(this.#ends, series(points, "ends"));
    draw(this.#busy, [{ label: "busy", colour: 1, value: plain("busy") }]);
    draw(this.memory, [
      { label: "resident", colour: 1, value: plain("resident") },
      { label: "messages in it", colour: 2, value: plain("messages_memory") },
    ]);
  }
}

class SlowPeers {
  #table = new Table("Slow peers and queues", [
    { title: "What was done", kind: "name", update: (cell, { text, metric }) => {
      setText(cell, text);
      cell.title = `tidegate_${metric}`;
    } },
    { title: "Since the start", kind: "number", text: ({ total }) => short(total) },
    { title: "Per minute", kind: "number", update: (cell, { minute, loss }) => {
      setText(cell, minute > 0 ? short(Math.ceil(minute)) : isNumber(minute) ? "0" : "–");
      cell.dataset.level = minute > 0 ? (loss ? "full" : "high") : "";
    } },
  ], { id: "slow", isCompact: true });
  #waiting = make("span", { class: "small", id: "slow-waiting" });

  constructor() {
    this.element = card("Slow peers and queues", { id: "slow-card", class: "third",
      note: this.#waiting }, this.#table.element);
  }

  show() {
    const [sum, minute] = [sums(), minuteRates()];
    this.#table.show(SLOW.map(([counter, text, metric, loss]) =>
      ({ text, metric, loss, total: sum[counter], minute: minute[counter] })));
    setText(this.#waiting,
      `${short(sum.queued)} messages, ${bytes(sum.backlog_bytes)} wait`);
  }
}

class Topics {
  #table = new Table("Largest topics", [
    { title: "Name", kind: "name", update: (cell, { name }) => {
      cell.firstElementChild ?? cell.append(make("a", {}));
      setText(cell.firstElementChild, String(name));
      cell.firstElementChild.setAttribute("href", topicHref(name));
    } },
    { title: "Subscribers", kind: "number", text: ({ subscribers }) => whole(subscribers) },
  ], { id: "topics", isCompact: true });
  #empty = make("p", { class: "empty", text:
    "No topic yet: it begins with who subscribes to it." });

  constructor() {
    this.element = card("Largest topics", { id: "topics-card", class: "third",
      note: make("a", { href: "#/topics", text: "All topics", class: "small" }) },
    this.#table.element, this.#empty);
  }

  show(overview) {
    this.#table.show(listOf(overview.topics).slice(0, TOPICS));
    this.#empty.hidden = !this.#table.element.hidden;
  }
}

// What the log of the start has warned of, and why shards ask the kernel as they do.
class Warnings {
  element = make("section", { class: "card warnings", hidden: true, "aria-label": "Warnings" });

  show({ warnings }) {
    const texts = Array.isArray(warnings) ? warnings.map(String) : [];
    const key = texts.join("\n");
    this.element.hidden = texts.length === 0;
    if (this.element.dataset.shown === key) return;
    this.element.dataset.shown = key;
    const heading = texts.length === 1 ? "A warning of the start"
      : `${texts.length} warnings of the start`;
    this.element.replaceChildren(make("h2", { text: heading }),
      make("ul", {}, texts.map((text) => make("li", { text }))));
  }
}

// A drain that is in force: whom it is about, and how far it is.
class Drain {
  #title = make("h2", {});
  #note = make("p", { class: "small" });
  #bar = new Bar();
  element = make("section", { class: "card warnings", id: "drain", hidden: true,
    "aria-label": "Drain" }, this.#title, this.#bar.element, this.#note);

  show({ drain }) {
    this.element.hidden = !drain;
    if (!drain) return;
    const parts = [["route", drain.route], ["listener", drain.listener],
      ["address", drain.address]].filter(([, value]) => value);
    const whom = parts.map((part) => part.join(" ")).join(", ") || "the whole gateway";
    setText(this.#title, `Drain of ${whom}`);
    const { connections, closed, state } = drain;
    this.#bar.show(connections > 0 ? closed / connections : undefined);
    const word = drain.then === "exit" ? "then it ends" : "it stays";
    setText(this.#note, state === "announced"
      ? `Begins in ${duration(drain.delay_left_seconds)}; ${word}.`
      : `${whole(closed)} of ${whole(connections)} closed, ${whole(drain.left)} left, at `
        + `${whole(drain.rate)} per second; `
        + (state === "done" ? "done, and in force until it is taken back."
          : `${duration(drain.deadline_left_seconds)} to its deadline; ${word}.`));
  }
}

export function open() {
  const parts = { drain: new Drain(), tiles: new Tiles(), hour: new Hour(), bar: new MemoryBar(),
    shards: new Shards(), slow: new SlowPeers(), topics: new Topics(), warnings: new Warnings(),
    list: new Happenings(), tls: new Tls() };
  const notice = new Notice();
  const since = make("span", { class: "small", id: "hour-since" });
  let recent;
  const show = () => {
    parts.tiles.show(recent);
    parts.drain.show(gateway.overview);
    parts.bar.show(gateway.overview);
    parts.shards.show();
    parts.slow.show();
    parts.topics.show(gateway.overview);
    parts.tls.show(gateway.overview);
    parts.warnings.show(gateway.config);
  };
  const poll = new Poll(async () => {
    recent = await ask("v1/recent");
    notice.say("");
    parts.hour.show(recent);
    parts.list.show(recent.happenings, HAPPENINGS);
    parts.tiles.show(recent);
    const points = pointsOf(recent, millis);
    const length = points.length ? (points.at(-1).at - points[0].at) / 1000 + 10 : 0;
    setText(since, points.length ? `${duration(length)}, until ${clock(points.at(-1).at)}`
      : "Nothing is known of it yet: the first ten seconds have to pass.");
  }, RECENT_MS, (error) => notice.say(`The last hour cannot be shown. ${describe(error)}`));
  const element = make("div", { class: "cards" }, parts.drain.element, parts.tiles.element,
    parts.warnings.element,
    make("div", { class: "section-head" }, make("h2", { text: "The last hour" }), since),
    notice.element, parts.hour.element,
    card("Memory", { id: "memory-card",
      note: make("a", { href: "#/memory", text: "The bill, line by line", class: "small" }) },
    make("div", { class: "beside" }, parts.bar.element, parts.hour.memory.element)),
    parts.shards.element, parts.tls.element,
    card("Last happenings", { id: "last-happenings", class: "third",
      note: make("a", { href: "#/events", text: "All events", class: "small" }) },
    parts.list.element), parts.topics.element, parts.slow.element);
  return { title, element, polls: [poll], show };
}
