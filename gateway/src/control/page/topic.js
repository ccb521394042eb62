// One topic: who is on it, what was said last, and saying something.

import { ApiError, ask, asWritten, describe, withQuery } from "./api.js";
import { card, fill, listOf, make, Notice, setText } from "./dom.js";
import { count, duration, isNumber, millis, moment, NOTHING, short, whole } from "./format.js";
import { gateway } from "./gateway.js";
import { idHref, searchHref } from "./links.js";
import { Poll } from "./poll.js";
import { messageForm } from "./publish.js";
import { Rate } from "./rate.js";

const EVERY_MS = 1000;
const MEMBERS_MS = 5000;
const MEMBERS = 100;
const MESSAGES = 20;
const CUT = 600;                  // letters of a message that are shown at first
const LINE = 100;                 // and of JSON that is one line

// The topic, or null if there is none; its name may be one that no path can have.
export async function find(name) {
  try {
    return await findAnyhow(name);
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return null;
    throw error;
  }
}

async function findAnyhow(name) {
  if (name !== "." && name !== "..") return ask(`v1/topics/${encodeURIComponent(name)}`);
  const { topics } = await ask(withQuery("v1/topics", { prefix: name, limit: 1000 }));
  const found = listOf(topics).find((one) => one.name === name);
  return found ?? null;
}

class Figures {
  #cells;
  #rate = new Rate();

  constructor() {
    const names = ["Subscribers", "Present", "Published", "Messages per minute", "Kept", "Epoch"];
    this.#cells = Object.fromEntries(names.map((name) =>
      [name, make("dd", { text: NOTHING })]));
    this.element = make("dl", { class: "facts-list big", id: "topic-figures" },
      names.map((name) => make("div", {}, make("dt", { text: name }), this.#cells[name])));
  }

  // Of no topic.
  clear() {
    this.#rate.clear();
    for (const cell of Object.values(this.#cells)) setText(cell, NOTHING);
  }

  show({ subscribers, present, position, kept }) {
    const cells = this.#cells;
    setText(cells.Subscribers, whole(subscribers));
    setText(cells.Present, isNumber(present) ? whole(present) : "not kept");
    setText(cells.Published, position ? whole(position.offset) : "not counted");
    setText(cells.Kept, whole(kept));
    setText(cells.Epoch, position?.epoch ?? NOTHING);
    const rate = this.#rate.of(position?.offset, position?.epoch);
    setText(cells["Messages per minute"], isNumber(rate) ? short(Math.round(60 * rate)) : NOTHING);
  }
}

class Members {
  #list = make("ul", { class: "tags" });
  #notice = new Notice();
  #none = make("p", { class: "empty", hidden: true });
  #count = make("span", { class: "small" });

  constructor(name) {
    this.name = name;
    this.element = card("Who is present", { id: "members", class: "half", note: this.#count },
      this.#notice.element, this.#list, this.#none);
  }

  async ask(present) {
    if (!isNumber(present)) {
      this.#none.hidden = false;
      setText(this.#none,
        "Presence is not kept of this topic: a [[topic]] with `presence` does that.");
      return;
    }
    try {
      this.show(await ask(withQuery("v1/presence", { topic: this.name, limit: MEMBERS })));
      this.#notice.say("");
    } catch (error) {
      this.#notice.say(describe(error));
    }
  }

  // Of no topic.
  clear() {
    this.#notice.say("");
    this.show({ members: [], total: 0 });
  }

  show({ members, total }) {
    const all = listOf(members);
    setText(this.#count, isNumber(total) && total > all.length
      ? `${whole(all.length)} of ${whole(total)}` : whole(total));
    this.#none.hidden = all.length > 0;
    setText(this.#none, "Nobody.");
    fill(this.#list, all, () => make("li", {}, make("a"), make("span", { class: "small" })),
      (item, { user, connection, connections, since }) => {
        const [link, more] = item.children;
        setText(link, String(user ?? connection ?? NOTHING));
        link.setAttribute("href", user ? searchHref({ user }) : idHref(connection));
        const many = connections === 0 ? "has just left"
          : connections > 1 ? count(connections, "connection") : "";
        const here = duration((gateway.now - millis(since)) / 1000);
        setText(more, [many, `for ${here}`].filter(Boolean).join(", "));
      });
  }
}

// The last messages, the newest first.
class Messages {
  #list = make("ol", { class: "messages", id: "messages" });
  #notice = new Notice();
  #none = make("p", { class: "empty", hidden: true });
  #shown = "";

  constructor(name) {
    this.name = name;
    this.element = card("Last messages", { id: "messages-card", note: make("span", {
      class: "small", text: `the newest first, up to ${MESSAGES}` }) },
    this.#notice.element, this.#list, this.#none);
  }

  // Of no topic.
  clear() {
    this.#shown = "";
    this.#notice.say("");
    this.#showNone("None is kept now.");
  }

  #showNone(why) {
    this.#list.replaceChildren();
    this.#none.hidden = false;
    setText(this.#none, why);
  }

  async ask({ position, kept }) {
    const key = JSON.stringify([position, kept]);
    if (key === this.#shown) return;
    if (!position || !(kept > 0)) {
      this.#shown = key;
      this.#showNone(position ? "None is kept now."
        : "No history is kept of this topic: a [[topic]] with `history` does that.");
      return;
    }
    const offset = Math.max(position.offset - MESSAGES, 0);
    const path = withQuery("v1/history",
      { topic: this.name, epoch: position.epoch, offset, limit: MESSAGES });
    try {
      const { messages, position: last } = await ask(path, { exact: true });
      this.#shown = key;
      this.#none.hidden = true;
      this.#show(listOf(messages).reverse(), last?.epoch);
      this.#notice.say("");
    } catch (error) {
      this.#notice.say(describe(error));
    }
  }

  // What is shown already stays as it is, opened or selected. Another epoch has other messages
  // under the same offsets.
  #show(messages, epoch) {
    const there = new Map([...this.#list.children].map((item) => [item.dataset.position, item]));
    this.#list.replaceChildren(...messages.map((message) => {
      const position = `${epoch}:${message.offset}`;
      return there.get(position) ?? messageItem(message, position);
    }));
  }
}

function messageItem(message, position) {
  const { offset, time, user, connection, key } = message;
  const at = millis(time);
  const from = user ? make("a", { href: searchHref({ user }), text: String(user) })
    : connection ? make("a", { href: idHref(connection), class: "mono", text: String(connection) })
      : "from outside";
  return make("li", { data: { position } },
    make("div", { class: "meta" }, make("b", { text: `#${whole(offset)}` }),
      make("time", { text: moment(at, gateway.now), title: String(time) }), from,
      key !== undefined && make("span", { class: "small", text: `key ${key}` }),
      make("span", { class: "small", text: kindOf(message) })), body(textOf(message)));
}

const kindOf = ({ json, binary }) =>
  (json !== undefined ? "JSON" : binary !== undefined ? "binary, as base64" : "text");

// JSON, also such that was sent as text, is spread out where it is long.
function textOf({ text, json, binary }) {
  if (json !== undefined) return spread(json);
  if (binary !== undefined || !/^\s*[[{]/.test(text ?? "")) return String(binary ?? text ?? "");
  try {
    return spread(JSON.parse(text, asWritten));
  } catch {
    return text;
  }
}

function spread(value) {
  const short = JSON.stringify(value);
  return short.length <= LINE ? short : JSON.stringify(value, null, 2);
}

// Long ones are cut, and whole at a click.
function body(text) {
  const shown = make("pre", { class: "message" });
  if (text.length <= CUT) {
    shown.textContent = text;
    return shown;
  }
  const cut = `${text.slice(0, CUT)}…`;
  shown.textContent = cut;
  const button = make("button", { type: "button", "aria-expanded": "false",
    text: `Show all ${whole(text.length)} letters` });
  button.addEventListener("click", () => {
    const isOpen = button.getAttribute("aria-expanded") === "true";
    button.setAttribute("aria-expanded", String(!isOpen));
    shown.textContent = isOpen ? cut : text;
    setText(button, isOpen ? `Show all ${whole(text.length)} letters` : "Show less");
  });
  return make("div", {}, shown, button);
}

export function open(name) {
  const [figures, members, messages] = [new Figures(), new Members(name), new Messages(name)];
  const notice = new Notice();
  let subscribers;
  const reach = () => (isNumber(subscribers)
    ? `It is for ${count(subscribers, "subscriber")} now.` : "");
  const form = messageForm({ topic: name }, `topic “${name}”`, reach);
  const element = make("div", { class: "cards" }, notice.element,
    card("Now", { id: "topic-card", note: make("a", { href: searchHref({ topic: name }),
      class: "small", text: "Its connections" }) }, figures.element),
    members.element, card("Publish on it", { id: "publish-card", class: "half" }, form),
    messages.element);
  let present;
  const showNone = () => {
    notice.say("There is no such topic now: nobody is subscribed to it, and nothing is kept of " +
      "it. A message to it reaches nobody.");
    [figures, members, messages].forEach((part) => part.clear());
    [subscribers, present] = [0, undefined];
  };
  const poll = new Poll(async () => {
    const told = await find(name);
    if (told === null) {
      showNone();
      return;
    }
    notice.say("");
    figures.show(told);
    ({ subscribers } = told);
    if (present !== told.present) {
      ({ present } = told);
      await members.ask(present);
    }
    await messages.ask(told);
  }, EVERY_MS, (error) => notice.say(describe(error)));
  const again = new Poll(async () => {
    if (isNumber(present)) await members.ask(present);
  }, MEMBERS_MS);
  return { title: `Topic ${name}`, element, polls: [poll, again] };
}
