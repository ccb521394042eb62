// Memory: one bar of all that is held, billed and allowed; the bill; and what a connection costs.

import { Bar, card, listOf, make, setText, Table } from "./dom.js";
import { bytes, isNumber, percent } from "./format.js";
import { gateway, sums } from "./gateway.js";

export const title = "Memory";

const PARTS_MAX = 5;              // lines of the bill that have a part of their own
const AVERAGE_LEAST = 1000;       // connections: records come many at once, which few would share
// Where less than this of what is allowed is billed, the rest is not drawn to scale.
const BILLED_LEAST = 0.55;

// The parts of what is allowed, which add up to it: what lines of the bill use, all else that is
// resident, what is billed and was not touched, and what is not billed.
export function parts({ memory, budget }) {
  const { allowed, bill, resident } = memory ?? {};
  const lines = listOf(budget).filter(({ used }) => isNumber(used) && used > 0);
  lines.sort((one, other) => other.used - one.used);
  const shown = lines.slice(0, PARTS_MAX);
  const rest = lines.slice(PARTS_MAX);
  const all = shown.map((line, at) => ({
    label: String(line.owner ?? "?"), bytes: line.used, of: line.allowed, kind: `c${at + 1}`,
  }));
  const total = (list, key) => list.reduce((sum, one) => sum + (one[key] ?? 0), 0);
  if (rest.length) {
    all.push({
      label: `${rest.length} more lines of the bill`, bytes: total(rest, "used"),
      of: total(rest, "allowed"), kind: "c6",
    });
  }
  let reached = total(all, "bytes");
  const add = (label, to, kind) => {
    if (isNumber(to) && to > reached) {
      all.push({ label, bytes: to - reached, kind });
      reached = to;
    }
  };
  add("resident beside these: program, stacks, rings, buffers", resident, "c8");
  add("billed, and not in use", bill, "unused");
  add("allowed, and not billed", allowed, "beyond");
  return all;
}

// The bar, its marks and its legend.
export class MemoryBar {
  #bar = make("div", { class: "memory-bar", role: "img" });
  #marks = make("div", { class: "marks", "aria-hidden": "true" });
  #legend = make("ul", { class: "legend memory-legend" });
  #figures = make("p", { class: "figures" });
  #scale = make("p", { class: "hint" });

  constructor() {
    this.element = make("div", {},
      this.#figures, this.#bar, this.#marks, this.#legend, this.#scale);
  }

  show(overview) {
    const { allowed, bill, resident } = overview.memory ?? {};
    const all = parts(overview);
    const sum = all.reduce((more, one) => more + one.bytes, 0);
    const beyond = all.find(({ kind }) => kind === "beyond")?.bytes ?? 0;
    // So wide is what is not billed.
    const share = sum > 0 ? Math.min(beyond / sum, 1 - BILLED_LEAST) : 0;
    const width = ({ kind, bytes: size }) => (kind === "beyond"
      ? 100 * share : 100 * (1 - share) * size / (sum - beyond || 1));
    this.#bar.replaceChildren(...all.map((part) => {
      const made = make("span", { class: part.kind, title: `${part.label}: ${bytes(part.bytes)}` });
      made.style.width = `${width(part)}%`;
      return made;
    }));
    const isCut = beyond > 0 && beyond / sum > share + 0.001;
    this.#bar.classList.toggle("cut", isCut);
    setText(this.#scale, isCut
      ? `What is not billed is drawn shorter than it is. All of it adds up to ${bytes(sum)}.`
      : `All of it adds up to ${bytes(sum)}.`);
    const place = (value) => Math.min(100 * (1 - share) * value / (sum - beyond || 1), 100);
    const marks = [["resident", resident, place(resident)], ["bill", bill, place(bill)],
      ["allowed", allowed, 100]].filter(([, value]) => isNumber(value));
    this.#marks.replaceChildren(...marks.map(([name, , at]) => {
      const made = make("span", { class: at > 60 ? "mark right" : "mark", text: name });
      made.style.left = `${at}%`;
      return made;
    }));
    const figures = [["resident", resident], ["bill", bill], ["allowed", allowed]];
    this.#figures.replaceChildren(...figures.map(([name, value]) =>
      make("span", {}, make("b", { text: bytes(value) }), ` ${name}`)));
    this.#bar.setAttribute("aria-label", all.map((part) =>
      `${part.label}: ${bytes(part.bytes)}`).join("; "));
    this.#legend.replaceChildren(...all.map((part) => make("li", {},
      make("i", { class: `swatch ${part.kind}` }),
      make("span", { class: "label", text: part.label }), make("b", { text: bytes(part.bytes) }),
      isNumber(part.of) && make("span", { class: "small", text: `of ${bytes(part.of)}` }))));
  }
}

// What one connection takes: for comparisons of gateways, and of kernels.
class PerConnection {
  #total = make("div", { class: "figure", id: "memory-total" });
  #times = make("span", { class: "small", id: "memory-times" });
  #list = make("dl", { class: "facts-list", id: "memory-parts" });

  constructor() {
    this.element = card("Memory per connection", { id: "per-connection", note: this.#times },
      this.#total, this.#list, make("p", { class: "hint", text:
        "The floor is what the kernel keeps for a TCP socket that nobody uses. Records come many " +
        "at once and count when they were ever used, so that few connections seem large. Blocks " +
        "hold what waits for slow peers and messages that must be whole; they are not in the " +
        "figure." }));
  }

  // What is told of the user space is blocks, too: those of a few slow peers are nobody's share,
  // and are shown apart.
  show(overview, connections) {
    const { user: all, kernel, floor } = overview.memory_per_connection ?? {};
    const blocks = listOf(overview.budget).find(({ owner }) => owner === "blocks")?.used;
    const share = isNumber(blocks) && connections > 0 ? blocks / connections : 0;
    const user = isNumber(all) ? Math.max(all - share, 0) : undefined;
    const total = isNumber(user) && isNumber(kernel) ? user + kernel : undefined;
    setText(this.#total, bytes(total));
    const times = total && floor ? `${(total / floor).toFixed(2)} × the floor` : "";
    setText(this.#times, connections >= AVERAGE_LEAST ? times : "an average of few");
    const pairs = [["in the kernel", kernel], ["of that the floor", floor],
      ["records", user], ["blocks of all", blocks]];
    this.#list.replaceChildren(...pairs.map(([name, value]) => make("div", {},
      make("dt", { text: name }), make("dd", { text: bytes(value) }))));
  }
}

export function open() {
  const bar = new MemoryBar();
  const each = new PerConnection();
  const messages = new Bar();
  const messagesText = make("span", { class: "small" });
  const sum = make("span", { class: "small" });
  const bill = new Table("The bill", [
    { title: "Line", kind: "name", text: ({ owner }) => String(owner ?? "?") },
    { title: "In use", kind: "number", text: ({ used }) => bytes(used) },
    { title: "Allowed", kind: "number", text: ({ allowed }) => bytes(allowed) },
    { title: "Share", kind: "number share extra", update: showShare },
  ], { id: "bill", isCompact: true });
  const element = make("div", { class: "cards" },
    card("All of it", { id: "all-memory" }, bar.element),
    make("div", { class: "half cards stack" }, each.element,
      card("Messages on their way and in histories", { id: "messages-memory", note: messagesText },
        messages.element)),
    card("The bill", { id: "bill-card", class: "half", note: sum }, bill.element, make("p", {
      class: "hint", text: "Of a line with a dash it is not counted how much is in use." })));
  const show = () => {
    const { overview } = gateway;
    bar.show(overview);
    each.show(overview, sums().connections);
    const { used, limit } = overview.messages_memory ?? {};
    messages.show(isNumber(used) && limit > 0 ? used / limit : undefined);
    setText(messagesText, `${bytes(used)} of ${bytes(limit)}`);
    const lines = listOf(overview.budget);
    lines.sort((one, other) => (other.allowed ?? 0) - (one.allowed ?? 0));
    bill.show(lines);
    const total = lines.reduce((more, { allowed }) => more + (isNumber(allowed) ? allowed : 0), 0);
    setText(sum, lines.length ? `${bytes(total)} in all` : "");
  };
  return { title, element, show };
}

// A line that is not counted as it is used has no share.
function showShare(cell, { used, allowed }) {
  if (!cell.firstElementChild) {
    cell.bar = new Bar();
    cell.append(cell.bar.element, make("span"));
  }
  const share = isNumber(used) && allowed > 0 ? used / allowed : undefined;
  cell.firstElementChild.hidden = share === undefined;
  // Lines that are reserved at the start are used up always: that is no warning.
  cell.bar.show(share, { high: 2, full: 2 });
  setText(cell.lastElementChild, share === undefined ? "" : percent(share));
}
