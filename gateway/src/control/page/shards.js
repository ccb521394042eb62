// The shards, one row each.

import { Bar, card, make, setText, Table } from "./dom.js";
import { bytes, isNumber, microseconds, percent, short, whole } from "./format.js";
import { busy, gateway, shards } from "./gateway.js";

const COLUMNS = [
  { title: "Shard", text: ({ index }) => String(index) },
  { title: "Connections", kind: "number", text: ({ counters }) => whole(counters.connections) },
  { title: "Of its limit", kind: "number share extra", update: showShare,
    hint: "connections of limits.connections" },
  { title: "In", kind: "number extra", hint: "messages received per second",
    text: ({ rates }) => perSecond(rates.messages_in) },
  { title: "Out", kind: "number extra", hint: "messages sent per second",
    text: ({ rates }) => perSecond(rates.messages_out) },
  { title: "Busy", kind: "number share", update: (cell, row) => showBusy(cell, row),
    hint: "how much of the time its loop works" },
  { title: "A turn", kind: "number extra", hint: "how long a turn of the loop takes on average",
    text: ({ rates }) => microseconds(rates.loops > 0
      ? rates.loop_nanoseconds / rates.loops : undefined) },
  { title: "Backlog", kind: "number extra", hint: "bytes that wait for slow peers",
    text: ({ counters }) => bytes(counters.backlog_bytes) },
  { title: "Blocks", kind: "number extra", hint: "bytes in pooled blocks",
    text: ({ counters }) => bytes(counters.blocks_used) },
];

const perSecond = (rate) => short(rate, "/s");

export class Shards {
  #table = new Table("Shards", COLUMNS, { id: "shards", isCompact: true });
  #balance = make("span", { class: "small", id: "shards-balance" });
  #empty = make("p", { class: "empty", text: "No shard is told about." });

  constructor() {
    this.element = card("Shards", { id: "shards-card", note: this.#balance },
      this.#table.element, this.#empty);
  }

  show() {
    const all = shards();
    this.#table.show(all);
    this.#empty.hidden = all.length > 0;
    const counts = all.map(({ counters }) => counters.connections).filter(isNumber);
    const mean = counts.reduce((sum, one) => sum + one, 0) / counts.length;
    const most = (Math.max(...counts) / mean).toFixed(2);
    setText(this.#balance, mean > 0 && all.length > 1
      ? `mean ${short(mean)} connections; the fullest has ${most} × the mean` : "");
  }
}

function showShare(cell, { counters }) {
  const limit = gateway.overview.limits?.connections_per_shard;
  showBar(cell, limit > 0 ? counters.connections / limit : undefined);
}

const showBusy = (cell, { rates }) => showBar(cell, busy(rates.loop_nanoseconds));

function showBar(cell, share) {
  if (!cell.bar) {
    cell.bar = new Bar();
    cell.append(cell.bar.element, make("span"));
  }
  cell.bar.show(share);
  setText(cell.lastElementChild, percent(share));
}
