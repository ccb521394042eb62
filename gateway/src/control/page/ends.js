// Connections that have ended, and why.

import { ask, describe, withQuery } from "./api.js";
import { connectionLink, eventsHref, link, searchHref } from "./links.js";
import { card, listOf, make, Notice, setText, Table } from "./dom.js";
import { millis, moment, NOTHING, timeSpan, whole } from "./format.js";
import { gateway } from "./gateway.js";
import { meaning } from "./reasons.js";

// A connection that was lost may have been broken by either.
export const byWhom = ({ reason, by_peer: byPeer }, us = "the gateway") =>
  (reason === "lost" ? "the network or the client" : byPeer ? "the client" : us);

const COLUMNS = [
  { title: "When", kind: "line", update: (cell, { time }) => {
    setText(cell, moment(millis(time), gateway.now));
    cell.title = String(time ?? "");
  } },
  { title: "Why", kind: "name", update: (cell, end) => {
    const { reason, code } = end;
    cell.replaceChildren(reason ? link(eventsHref(reason), reason) : NOTHING,
      ` (${code ?? NOTHING}), by ${byWhom(end, "us")}`);
    cell.title = meaning("ends", reason);
  } },
  { title: "User", kind: "name", update: (cell, { user }) => cell.replaceChildren(user
    ? make("a", { href: searchHref({ user }), text: String(user) }) : NOTHING) },
  { title: "Address", kind: "line", text: ({ address }) => address ?? NOTHING },
  { title: "Route", kind: "name", text: ({ route }) => route ?? NOTHING },
  { title: "Was open", kind: "number", text: ({ seconds }) => timeSpan(seconds) },
  { title: "Id", kind: "name id", update: (cell, { connection }) =>
    cell.replaceChildren(connectionLink(connection)) },
];

// Asks for the latest, of a user, an address or for a reason, or for that of one connection.
export const askEnds = async (query) => listOf((await ask(withQuery("v1/ends", query))).ends);

// In words, why one has ended.
export function sayEnd(end) {
  const { time, reason, code, seconds } = end;
  const told = meaning("ends", reason);
  const was = Number.isFinite(seconds) ? ` It had been open for ${timeSpan(seconds)}.` : "";
  return `It ended at ${moment(millis(time), gateway.now)}: ${reason}${told && `, ${told}`}; ` +
    `code ${code}, by ${byWhom(end)}.${was}`;
}

// The latest ends that a query asks for, with a sentence for when there is none.
export class Ends {
  #table;
  #notice = new Notice();
  #none = make("p", { class: "empty", hidden: true });
  #count = make("span", { class: "small" });
  #empty;

  constructor(title, empty, { id = "last-ends", note, head } = {}) {
    this.#empty = empty;
    this.#table = new Table(title, COLUMNS, { id });
    this.element = card(title, { id: `${id}-card`, note: note ?? this.#count },
      head, this.#notice.element, this.#table.element, this.#none);
  }

  // Only those that are `wanted`, of what the query finds.
  async ask(query, wanted = () => true) {
    try {
      const ends = (await askEnds(query)).filter(wanted);
      this.#notice.say("");
      this.#table.show(ends);
      setText(this.#count, ends.length ? `the last ${whole(ends.length)}` : "");
      this.#none.hidden = ends.length > 0;
      setText(this.#none, this.#empty);
    } catch (error) {
      this.#notice.say(describe(error));
    }
  }
}
