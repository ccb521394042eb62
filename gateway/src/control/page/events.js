// What has happened in the last hour, and why requests were refused and connections ended.

import { ask, describe } from "./api.js";
import { field } from "./dialog.js";
import { card, fill, listOf, make, Notice, setText, Table } from "./dom.js";
import { millis, moment, whole } from "./format.js";
import { Ends } from "./ends.js";
import { gateway } from "./gateway.js";
import { eventsHref, link } from "./links.js";
import { Poll } from "./poll.js";
import { ENDS as REASONS, meaning, totals } from "./reasons.js";

export const title = "Events";

const EVERY_MS = 10_000;
const LAST = 20;
// What a happening is, for people, and how much it matters.
const KINDS = {
  start: ["started", "good"], drain: ["drain", "bad"], limit_reached: ["limit reached", "bad"],
  limit_left: ["limit left", "good"], change: ["change", "plain"],
  certificates: ["certificates", "plain"],
  configuration: ["configuration", "plain"],
};

// Happenings, the newest first.
export class Happenings {
  element = make("ul", { class: "happenings" });

  show(happenings, most = Infinity) {
    const newest = listOf(happenings).slice().reverse().slice(0, most);
    fill(this.element, newest, () => make("li", {}, make("time"), make("span", { class: "tag" }),
      make("span", { class: "text" })), (item, { time, what, text }) => {
      const [name, kind] = KINDS[what] ?? [String(what ?? "?"), "plain"];
      const [when, tag, said] = item.children;
      setText(when, moment(millis(time), gateway.now));
      when.title = String(time ?? "");
      setText(tag, name);
      tag.dataset.kind = kind;
      setText(said, String(text ?? ""));
    });
    this.element.hidden = newest.length === 0;
  }
}

// `key` says of what the reasons are, and is the table's id.
const reasonTable = (label, key) => new Table(label, [
  { title: "Reason", kind: "name", update: (cell, { reason }) =>
    cell.replaceChildren(key === "ends" ? link(eventsHref(reason), reason) : reason) },
  { title: "What it means", kind: "wide", text: ({ reason }) => meaning(key, reason) },
  { title: "In the last hour", kind: "number", text: ({ total }) => whole(total) },
], { id: key });

export function open(_, { reason = "" }) {
  const notice = new Notice();
  const list = new Happenings();
  const none = make("p", { class: "empty", text: "Nothing has happened.", hidden: true });
  const refusals = reasonTable("Refusals by reason", "refusals");
  const ends = reasonTable("Ends by reason", "ends");
  const noRefusal = make("p", { class: "empty", hidden: true });
  const noEnd = make("p", { class: "empty", hidden: true });
  const note = (text) => make("code", { class: "small", text });
  const choice = make("select", { id: "ends-reason" }, ["", ...REASONS].map((one) =>
    make("option", { value: one, text: one || "any reason", selected: one === reason })));
  const last = new Ends("The last that have ended", "None that is remembered.", {
    note: field("for", choice) });
  const askLast = () => last.ask({ reason: choice.value, limit: LAST });
  // The address leads to what is shown.
  const choose = () => {
    history.replaceState(null, "", eventsHref(choice.value));
    return askLast();
  };
  choice.addEventListener("change", choose);
  ends.element.addEventListener("click", (clicked) => {
    const picked = clicked.target.closest("a")?.textContent;
    if (!REASONS.includes(picked)) return;
    clicked.preventDefault();
    choice.value = picked;
    choose();
    last.element.scrollIntoView();
    choice.focus({ preventScroll: true });
  });
  const element = make("div", { class: "cards" }, notice.element,
    card("Happenings", { id: "happenings", note: make("span", {
      class: "small", text: "the last hour, and up to 200" }) }, list.element, none),
    card("Refused requests", { id: "refusals-card", class: "half",
      note: note("tidegate_refusals_total") }, refusals.element, noRefusal),
    card("Ended connections", { id: "ends-card", class: "half",
      note: note("tidegate_ends_total") }, ends.element, noEnd), last.element);
  const poll = new Poll(async () => {
    const recent = await ask("v1/recent");
    notice.say("");
    list.show(recent.happenings);
    none.hidden = !list.element.hidden;
    const stretches = listOf(recent.stretches);
    // The first stretch has to be over.
    const yet = (text) => (stretches.length ? text : "Not known yet.");
    setText(noRefusal, yet("No request was refused."));
    setText(noEnd, yet("No connection has ended."));
    for (const [table, empty, key] of [[refusals, noRefusal, "refusals"], [ends, noEnd, "ends"]]) {
      table.show(totals(stretches, key));
      empty.hidden = !table.element.hidden;
    }
    await askLast();
  }, EVERY_MS, (error) => notice.say(describe(error)));
  return { title, element, polls: [poll] };
}
