// What is counted, by the names that /metrics has: all but the buckets and the bill.

import { askText, describe } from "./api.js";
import { card, make, Notice, setText, Table } from "./dom.js";
import { short, whole } from "./format.js";
import { Poll } from "./poll.js";

export const title = "Counters";

const EVERY_MS = 2000;
const SAMPLE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/;

// The samples of an exposition, of all shards together: `Map` of name and labels to name, kind,
// help and value.
export function parse(text) {
  const [kinds, helps, found] = [new Map(), new Map(), new Map()];
  for (const line of text.split("\n")) {
    const [, keyword, name, rest] = /^# (TYPE|HELP) (\S+) (.*)/.exec(line) ?? [];
    if (keyword === "TYPE") kinds.set(name, rest);
    if (keyword === "HELP") helps.set(name, rest);
    const [, full, labels = "", value] = line.startsWith("#") ? [] : SAMPLE.exec(line) ?? [];
    // Buckets are many, and the bill has a view of its own.
    if (full === undefined || /_bucket$|_budget_/.test(full)) continue;
    const family = [full, full.replace(/_(total|sum|count)$/, "")].find((one) => kinds.has(one));
    const others = labels.split(/,(?=\w+=")/).filter((one) => one && !one.startsWith("shard="));
    const key = others.length ? `${full}{${others.join(",")}}` : full;
    const before = found.get(key)?.value ?? 0;
    const isGauge = kinds.get(family) === "gauge";
    // Shares of what each shard may have are no sum: the highest is told.
    const isRatio = full.endsWith("_ratio");
    found.set(key, {
      key, isGauge, help: helps.get(family) ?? "",
      value: isRatio ? Math.max(before, Number(value)) : before + Number(value),
    });
  }
  return found;
}

export function open(_, query) {
  const filter = make("input", {
    type: "search", id: "counters-filter", placeholder: "part of a name, such as slow",
    "aria-label": "Only counters with this in their name or text",
  });
  filter.value = query.filter ?? "";
  const count = make("span", { class: "small", role: "status" });
  const notice = new Notice();
  const table = new Table("Counters", [
    { title: "Name", kind: "name", text: ({ key }) => key },
    { title: "What it counts", kind: "wide", text: ({ help }) => help },
    { title: "All shards", kind: "number", text: ({ value }) =>
      (Number.isInteger(value) ? whole(value) : short(value)) },
    { title: "Per second", kind: "number", text: ({ rate }) =>
      (rate === undefined ? "" : short(rate)) },
  ], { id: "counters" });
  let [before, now] = [null, null];
  const show = () => {
    if (!now) return;
    const wanted = filter.value.trim().toLowerCase();
    const seconds = before ? (now.at - before.at) / 1000 : 0;
    const rows = [...now.samples.values()].map((sample) => {
      const more = sample.value - before?.samples.get(sample.key)?.value;
      const isRising = !sample.isGauge && seconds > 0 && more >= 0;
      return { ...sample, rate: isRising ? more / seconds : undefined };
    }).filter(({ key, help }) => `${key} ${help}`.toLowerCase().includes(wanted));
    table.show(rows);
    setText(count, `${rows.length} of ${now.samples.size}`);
  };
  filter.addEventListener("input", show);
  const poll = new Poll(async () => {
    const samples = parse(await askText("metrics"));
    [before, now] = [now, { at: performance.now(), samples }];
    notice.say("");
    show();
  }, EVERY_MS, (error) => notice.say(describe(error)));
  const element = card("By the names of /metrics, of all shards together",
    { id: "counters-card", note: count }, filter, notice.element, table.element);
  return { title, element, polls: [poll] };
}
