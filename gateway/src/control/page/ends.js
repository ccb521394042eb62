// Connections that have ended, and why.

import { ask, describe, withQuery } from "./api.js";
import { connectionLink, searchHref } from "./links.js";
import { card, listOf, make, Notice, setText, Table } from "./dom.js";
import { duration, millis, moment, NOTHING, whole } from "./format.js";
import { gateway } from "./gateway.js";
import { meaning } from "./reasons.js";

const COLUMNS = [
  { title: "When", update: (cell, { time }) => {
    setText(cell, moment(millis(time), gateway.now));
    cell.title = String(time ?? "");
  } },
  { title: "Why", kind: "name", update: (cell, { reason, code, by_peer: byPeer }) => {
    setText(cell, `${reason ?? NOTHING} (${code ?? NOTHING}), by ${byPeer ? "the client" : "us"}`);
    cell.title = meaning("ends", reason);
  } },
  { title: "User", kind: "name", update: (cell, { user }) => cell.replaceChildren(user
    ? make("a", { href: searchHref({ user }), text: String(user) }) : NOTHING) },
  { title: "Address", text: ({ address }) => address ?? NOTHING },
  { title: "Route", kind: "name", text: ({ route }) => route ?? NOTHING },
  { title: "Was open", kind: "number", text: ({ seconds }) => duration(seconds) },
  { title: "Id", kind: "name id", update: (cell, { connection }) =>
    cell.replaceChildren(connectionLink(connection)) },
];

// Asks for the latest, of a user, an address or for a reason, or for that of one connection.
export const askEnds = async (query) => listOf((await ask(withQuery("v1/ends", query))).ends);

// In words, why one has ended.
export function sayEnd({ time, reason, code, by_peer: byPeer, seconds }) {
  const told = meaning("ends", reason);
  const was = Number.isFinite(seconds) ? ` It had been open for ${duration(seconds)}.` : "";
  return `It ended at ${moment(millis(time), gateway.now)}: ${reason}${told && `, ${told}`}; ` +
    `code ${code}, by ${byPeer ? "the client" : "the gateway"}.${was}`;
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

  async ask(query) {
    try {
      const ends = await askEnds(query);
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
