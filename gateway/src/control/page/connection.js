// One connection: what is known of it, what it gets and sends, and what can be done with it.

import { ApiError, ask, describe } from "./api.js";
import { card, facts, fill, make, Notice, setText } from "./dom.js";
import { askEnds, byWhom, Ends, sayEnd } from "./ends.js";
import {
  ago, bytes, bytesPerSecond, isNumber, millis, moment, NOTHING, perSecond, timeSpan, whole,
} from "./format.js";
import { gateway } from "./gateway.js";
import { eventsHref, link, searchHref, topicHref } from "./links.js";
import { Poll } from "./poll.js";
import { disconnect, messageForm, trace } from "./publish.js";
import { Rate } from "./rate.js";
import { isFailure, meaning } from "./reasons.js";

const EVERY_MS = 1000;
const ENDS_MS = 5000;
const ENDS = 20;
const OF_LATE = "per second, last 10 s";
const LOGGED = "Program, messages and bytes are known of connections whose listener logs them: " +
  "add the layer “log” above “ws” in its stack.";

const knownTime = (text) => {
  const at = millis(text);
  return at === undefined ? NOTHING : `${moment(at, gateway.now)}, ${ago(at, gateway.now)}`;
};

// What it is: changes little.
class Facts {
  #cells;

  constructor(id) {
    const names = ["User", "Address", "Route", "Program", "Since", "Active", "Waiting for it"];
    this.#cells = Object.fromEntries(names.map((name) => [name, make("span", { text: NOTHING })]));
    this.element = facts([["Id", make("span", { class: "mono", text: id })],
      ...Object.entries(this.#cells)]);
  }

  show(one) {
    const cells = this.#cells;
    const { user } = one;
    if (cells.User.textContent !== (user ?? NOTHING)) {
      cells.User.replaceChildren(user ? link(searchHref({ user }), String(user)) : NOTHING);
    }
    setText(cells.Address, one.address ?? NOTHING);
    setText(cells.Route, one.route ?? NOTHING);
    setText(cells.Program, one.agent ?? NOTHING);
    setText(cells.Since, knownTime(one.connected_at));
    setText(cells.Active, knownTime(one.active_at));
    setText(cells["Waiting for it"], bytes(one.backlog));
  }
}

// What one was that has ended.
class EndFacts {
  #list = facts([]);

  constructor(id) {
    this.id = id;
    this.element = card("What it was", { id: "end-card" }, this.#list);
    this.element.hidden = true;
  }

  show(end) {
    const { user, reason, seconds } = end;
    const ended = millis(end.time);
    const began = isNumber(seconds) && isNumber(ended) ? ended - 1000 * seconds : undefined;
    const means = meaning("ends", reason);
    const pairs = [["Id", make("span", { class: "mono", text: this.id })],
      ["User", user ? link(searchHref({ user }), user) : NOTHING],
      ["Address", end.address ?? NOTHING], ["Route", end.route ?? NOTHING],
      ["Since", moment(began, gateway.now)], ["Ended", knownTime(end.time)],
      ["Was open", timeSpan(seconds)],
      ["Reason", [link(eventsHref(reason), reason), means && `, ${means}`].filter(Boolean)],
      ["Close code", `${end.code ?? NOTHING}, by ${byWhom(end)}`]];
    fill(this.#list, pairs, () => make("div", {}, make("dt"), make("dd")),
      ({ children: [term, value] }, [name, told]) => {
        setText(term, name);
        value.replaceChildren(...[told].flat());
      });
    this.element.hidden = false;
  }
}

// What it gets and sends: in all, and of late.
class Traffic {
  #cells = {};
  #rates = {};
  #hint = make("p", { class: "hint", text: LOGGED, hidden: true });

  constructor() {
    const row = (what, title) => make("tr", {}, make("th", { scope: "row", text: title }),
      ["in", "out"].map((way) => {
        this.#cells[`${what}_${way}`] = make("td", { class: "number", text: NOTHING });
        return this.#cells[`${what}_${way}`];
      }));
    const heads = ["Received", "Sent"].map((text) =>
      make("th", { scope: "col", class: "number", text }));
    this.element = make("div", {}, make("table", { class: "small-table", id: "traffic" },
      make("thead", {}, make("tr", {}, make("td"), heads)),
      make("tbody", {}, row("messages", "Messages"), row("messages_rate", OF_LATE),
        row("bytes", "Bytes"), row("bytes_rate", OF_LATE))), this.#hint);
  }

  show(one) {
    for (const way of ["in", "out"]) {
      for (const [what, format, rate] of [["messages", whole, perSecond],
        ["bytes", bytes, bytesPerSecond]]) {
        const key = `${what}_${way}`;
        const value = one[key];
        this.#rates[key] ??= new Rate();
        setText(this.#cells[key], format(value));
        setText(this.#cells[`${what}_rate_${way}`], rate(this.#rates[key].of(value)));
      }
    }
    this.#hint.hidden = isNumber(one.messages_in);
  }
}

class Subscriptions {
  #list = make("ul", { class: "tags" });
  #none = make("p", { class: "empty", text: "It is subscribed to nothing.", hidden: true });
  #count = make("span", { class: "small" });
  #shown = "";

  constructor() {
    this.element = card("Subscriptions", { id: "subscriptions", class: "half", note: this.#count },
      this.#list, this.#none);
  }

  show({ topics, topics_total: total }) {
    const names = Array.isArray(topics) ? topics.map(String) : [];
    const more = isNumber(total) ? total - names.length : 0;
    setText(this.#count, names.length ? whole(total ?? names.length) : "");
    const key = JSON.stringify([names, more]);
    if (key === this.#shown) return;
    this.#shown = key;
    this.#none.hidden = names.length > 0;
    this.#list.replaceChildren(...names.map((name) => make("li", {}, link(topicHref(name), name))),
      more > 0 ? make("li", { class: "small", text: `and ${whole(more)} more` }) : "");
  }
}

// The IP address of one with its port.
const hostOf = (address) => address.replace(/:\d+$/, "").replace(/^\[(.*)\]$/, "$1");

const notRemembered = (id) => "This connection has ended and is not remembered, or there never " +
  `was one with the id ${id}.`;

export function open(id) {
  const [shown, traffic, subscriptions] = [new Facts(id), new Traffic(), new Subscriptions()];
  const [notice, said] = [new Notice(), new Notice("status")];
  const others = make("span", { class: "small" });
  const target = { connection: id };
  const end = make("button", { type: "button", class: "danger", id: "disconnect",
    text: "Disconnect…", on: { click: async () => {
      const told = await disconnect(target, `connection ${id}`);
      if (told) said.say(told, "done");
      poll.now();
    } } });
  const follow = make("button", { type: "button", id: "trace", text: "Log its frames…",
    on: { click: async () => {
      const told = await trace(id);
      if (told) said.say(told, "done");
    } } });
  const ends = new Ends("Others of the same user or address that have ended",
    "None that is remembered: each shard keeps its last 512.");
  const form = messageForm(target, `connection ${id}`);
  const was = new EndFacts(id);
  // What is of use while it is there.
  const living = [
    card("What it is", { id: "facts-card", class: "half", note: others }, shown.element,
      make("div", { class: "row end" }, follow, end)),
    card("Traffic", { id: "traffic-card", class: "half" }, traffic.element),
    subscriptions.element, card("Send it a message", { id: "send-card", class: "half" }, form)];
  const element = make("div", { class: "cards" }, notice.element, said.element, was.element,
    living, ends.element);
  let [user, of] = [undefined, undefined];
  const askOthers = () => of && ends.ask({ ...of, limit: ENDS });
  const poll = new Poll(async () => {
    const one = await ask(`v1/connections/${encodeURIComponent(id)}`);
    notice.say("");
    was.element.hidden = true;
    for (const part of living) part.hidden = false;
    shown.show(one);
    traffic.show(one);
    subscriptions.show(one);
    if (one.user !== user) {
      others.replaceChildren(link(searchHref({ user: one.user }), "all of this user"));
    }
    others.hidden = !one.user;
    user = one.user;
    await know(one);
  }, EVERY_MS, (error) => {
    const isGone = error instanceof ApiError && (error.status === 404 || error.status === 410);
    if (isGone) sayGone().catch((failed) => notice.say(describe(failed)));
    else notice.say(describe(error));
  });
  // Whose others are looked for.
  const know = async ({ user: whose, address }) => {
    const isFirst = !of;
    of = whose ? { user: whose } : address ? { address: hostOf(address) } : null;
    ends.element.hidden = of === null;
    if (isFirst) await askOthers();
  };
  const sayGone = async () => {
    for (const part of living) part.hidden = true;
    ends.element.hidden = !of;
    const [gone] = await askEnds({ connection: id });
    if (!gone) {
      notice.say(notRemembered(id), "plain");
      return;
    }
    // An id does not come back.
    poll.stop();
    was.show(gone);
    notice.say(sayEnd(gone), isFailure(gone.reason) ? "error" : "plain");
    await know(gone);
  };
  const again = new Poll(async () => askOthers(), ENDS_MS);
  return { title: `Connection ${id}`, element, polls: [poll, again] };
}
