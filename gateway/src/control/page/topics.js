// The topics, by how their names begin.

import { ask, describe, withQuery } from "./api.js";
import { field } from "./dialog.js";
import { card, listOf, make, Notice, setText, Table } from "./dom.js";
import { isNumber, NOTHING, whole } from "./format.js";
import { go, topicHref, topicsHref } from "./links.js";
import { Poll } from "./poll.js";

export const title = "Topics";

const PAGE = matchMedia("(max-width: 48rem)").matches ? 20 : 50;
const ROWS_MAX = 1000;
const ASKED_MAX = 20;
const NEVER_MS = 1 << 30;

const COLUMNS = [
  { title: "Name", kind: "name", update: (cell, { name }) =>
    cell.replaceChildren(make("a", { href: topicHref(name), text: String(name) })) },
  { title: "Subscribers", kind: "number", text: ({ subscribers }) => whole(subscribers) },
  { title: "Published", kind: "number", text: ({ position }) =>
    (position ? whole(position.offset) : NOTHING) },
  { title: "Kept", kind: "number", text: ({ kept }) => whole(kept) },
  { title: "Present", kind: "number", text: ({ present }) =>
    (isNumber(present) ? whole(present) : "not kept") },
];

export function open(_, query) {
  const prefix = query.prefix ?? "";
  const input = make("input", { type: "search", id: "prefix", autocomplete: "off",
    spellcheck: "false", placeholder: "all of them" });
  input.value = prefix;
  const form = make("form", { class: "search", role: "search" },
    make("div", { class: "row" }, field("Names that begin with", input),
      make("button", { class: "main", text: "Show" })));
  form.addEventListener("submit", (submitted) => {
    submitted.preventDefault();
    go(topicsHref(input.value));
  });
  const [notice, count] = [new Notice(), make("span", { class: "small", role: "status" })];
  const table = new Table("Topics", COLUMNS, { id: "topics" });
  const more = make("button", { type: "button", hidden: true, text: "More", id: "more" });
  const none = make("p", { class: "empty", hidden: true });
  let [rows, cursor] = [[], undefined];
  const next = async () => {
    if (rows.length >= ROWS_MAX) rows = [];
    const before = rows.length;
    for (let asked = 0; asked < ASKED_MAX; asked += 1) {
      const page = await ask(withQuery("v1/topics", { prefix, limit: PAGE, cursor }));
      rows.push(...listOf(page.topics));
      cursor = typeof page.cursor === "string" ? page.cursor : undefined;
      if (cursor === undefined || rows.length > before) break;
    }
    notice.say("");
    // The gateway tells them in no order that anybody looks for.
    const size = ({ subscribers }) => (isNumber(subscribers) ? subscribers : -1);
    table.show([...rows].sort((one, other) => size(other) - size(one)));
    more.hidden = cursor === undefined;
    const end = cursor ? "; there are more, which may have more subscribers" : "";
    setText(count,
      rows.length ? `${whole(rows.length)} shown, by most subscribers${end}` : "");
    none.hidden = rows.length > 0 || cursor !== undefined;
    setText(none, prefix ? `No topic begins with “${prefix}”: nobody is subscribed to one, and ` +
      "nothing is kept of one. Upper and lower case are different letters."
      : "There is no topic: one begins with who subscribes, or with a message that is kept.");
  };
  more.addEventListener("click", async () => {
    more.disabled = true;
    await next().catch((error) => notice.say(describe(error)));
    more.disabled = false;
  });
  const poll = new Poll(async () => {
    await next();
    poll.stop();
  }, NEVER_MS, (error) => notice.say(describe(error)));
  const element = make("div", { class: "cards" },
    card("Find topics", { id: "search-card" }, form),
    card("Topics", { id: "topics-card", note: count }, notice.element, none, table.element,
      make("div", { class: "row" }, more)));
  return { title, element, polls: [poll] };
}
