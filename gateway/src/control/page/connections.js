// Looks for connections, by what is known of them.

import { ask, describe, withQuery } from "./api.js";
import { field } from "./dialog.js";
import { card, fill, listOf, make, Notice, setText, Table } from "./dom.js";
import { Ends } from "./ends.js";
import { age, bytes, count, isNumber, millis, moment, NOTHING, whole } from "./format.js";
import { gateway } from "./gateway.js";
import { go, idHref, link, searchHref, topicHref } from "./links.js";
import { Poll } from "./poll.js";
import { disconnect } from "./publish.js";
import { find } from "./topic.js";

export const title = "Connections";

const PAGE = matchMedia("(max-width: 48rem)").matches ? 20 : 50;
const ROWS_MAX = 1000;
const ENDS = 20;
const PAGE_MAX = 1000;
// A page may have few, or none, and yet not be the last.
const ASKED_MAX = 20;
const NEVER_MS = 1 << 30;
const FIELDS = ["user", "address", "route", "subprotocol", "topic"];

const isId = (text) => /^[\w-]{19}$/.test(text);

// `{ address, port }` of an address as people write it, the port of `1.2.3.4:5` or `[::1]:5`;
// undefined if it is none. A process of this machine has no port.
function addressIn(text) {
  if (/^unix:pid=\d+,uid=\d+,gid=\d+$/.test(text)) return { address: text };
  const [, v4, v4Port] = /^(\d{1,3}(?:\.\d{1,3}){3})(?::(\d+))?$/.exec(text) ?? [];
  if (v4) return { address: v4, port: v4Port };
  const [, inner = text, port] = /^\[([\da-fA-F:.]+)\](?::(\d+))?$/.exec(text) ?? [];
  const isV6 = /^[\da-fA-F:.]*:[\da-fA-F:.]*:[\da-fA-F:.]*$/.test(inner);
  return isV6 ? { address: inner, port } : undefined;
}

// The same written out.
const withPort = (address, port) =>
  (!port ? address : address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`);

// Whether something came from that port. The gateway is asked by address alone.
const isFrom = (port) => ({ address }) => !port || String(address ?? "").endsWith(`:${port}`);

// What was guessed, to be said where it leads: `{ text, isUser }`.
let guessed = null;

// What somebody means who types this: `{ id }`, `{ address, port }`, `{ route }`, `{ user }`, or
// `{ topic }` where no user of that name is here and a topic is.
async function guess(text) {
  if (isId(text)) return { id: text };
  const address = addressIn(text);
  if (address !== undefined) return address;
  if (text.startsWith("/")) return { route: text };
  const has = async (query) => {
    let cursor;
    for (let asked = 0; asked < ASKED_MAX; asked += 1) {
      const page = await ask(withQuery("v1/connections", { ...query, limit: 1, cursor }));
      if (listOf(page.connections).length) return true;
      ({ cursor } = page);
      if (typeof cursor !== "string") return false;
    }
    return false;
  };
  // Where that cannot be told, the list says why.
  const [isUser, isTopic] = await Promise.all([has({ user: text }), has({ topic: text })])
    .catch(() => [true, false]);
  guessed = isTopic ? { text, isUser } : null;
  return isTopic && !isUser ? { topic: text } : { user: text };
}

// What the guess was that has led here, if one has.
function sayGuess({ user, topic }) {
  const told = guessed;
  guessed = null;
  if (!told || (user ?? topic) !== told.text) return null;
  const { text, isUser } = told;
  const other = isUser && link(searchHref({ topic: text }), "show those of the topic");
  return make("p", { class: "small", id: "guessed" }, isUser
    ? `“${text}” was taken as a user; a topic has that name too: `
    : `“${text}” was taken as a topic: no user of that name is here.`, other);
}

const COLUMNS = [
  // On a phone the user stands for the id, if there is one.
  { title: "Id", kind: "name id", update: (cell, { id, user }) => cell.replaceChildren(
    make("a", { href: idHref(id) }, make("span", { class: "extra", text: String(id ?? NOTHING) }),
      make("span", { class: "brief", text: String(user ?? id ?? NOTHING) }))) },
  { title: "User", kind: "name", update: (cell, { user }) =>
    cell.replaceChildren(user ? link(searchHref({ user }), user) : NOTHING) },
  { title: "Address", kind: "line address", text: ({ address }) => address ?? NOTHING },
  { title: "Route", kind: "name", text: ({ route }) => route ?? NOTHING },
  { title: "Topics", kind: "name topics", update: showTopics },
  { title: "Since", kind: "line since", hint: "how long ago it was opened",
    update: (cell, one) => showAge(cell, one.connected_at) },
  { title: "Active", kind: "line", hint: "how long ago something came from it",
    update: (cell, one) => showAge(cell, one.active_at) },
  { title: "Waiting", kind: "number", hint: "bytes that wait for the peer",
    text: ({ backlog }) => bytes(backlog) },
];

function showAge(cell, time) {
  const at = millis(time);
  setText(cell, age(at, gateway.now));
  cell.title = moment(at, gateway.now);
}

const TOPICS_SHOWN = 2;

function showTopics(cell, { topics, topics_total: total }) {
  const names = Array.isArray(topics) ? topics : [];
  const shown = names.slice(0, TOPICS_SHOWN);
  const links = shown.map((name) => link(topicHref(name), name));
  const more = (isNumber(total) ? total : names.length) - shown.length;
  cell.replaceChildren(...links.flatMap((one, at) => (at ? [", ", one] : [one])));
  if (more > 0) cell.append(` and ${whole(more)} more`);
  if (!names.length) cell.append(NOTHING);
}

// The form: a box that guesses, and a field for each thing that can be asked for.
function searchForm(query) {
  const box = make("input", {
    type: "search", id: "search", autocomplete: "off", spellcheck: "false",
    placeholder: "an id, an address, a user, a route or a topic" });
  const kind = make("select", { id: "search-as" }, [["", "guess"], ["user", "user"],
    ["topic", "topic"], ["id", "id"], ["address", "address"], ["route", "route"]]
    .map(([value, text]) => make("option", { value, text })));
  const inputs = Object.fromEntries(FIELDS.map((name) => [name, make("input", {
    type: "text", id: `search-${name}`, autocomplete: "off", spellcheck: "false",
    list: name === "route" ? "routes" : undefined,
  })]));
  // What one field says the box can say; several have to stand in their own.
  const given = FIELDS.filter((name) => query[name]);
  const isBox = given.length === 1 && given[0] !== "subprotocol";
  const said = (name) => (name === "address" ? withPort(query.address, query.port) : query[name]);
  if (isBox) [box.value, kind.value] = [said(given[0]), given[0]];
  else for (const name of given) inputs[name].value = said(name);
  const labels = { user: "User", address: "IP address, or with port", route: "Route, as configured",
    subprotocol: "Subprotocol of it", topic: "Subscribed to topic" };
  const form = make("form", { class: "search", role: "search" },
    make("div", { class: "row" }, field("Find", box), field("as", kind),
      make("button", { class: "main", text: "Search" })),
    make("details", { open: given.length > 0 && !isBox },
      make("summary", { text: "By fields, all of which hold" }),
      make("div", { class: "fields" }, FIELDS.map((name) => field(labels[name], inputs[name])))),
    make("datalist", { id: "routes" }));
  const button = form.querySelector("button");
  form.addEventListener("submit", async (submitted) => {
    submitted.preventDefault();
    if (button.disabled) return;
    const text = box.value.trim();
    const asked = Object.fromEntries(FIELDS.map((name) => [name, inputs[name].value.trim()]));
    const before = location.hash;
    button.disabled = true;
    const meant = text === "" ? {} : kind.value ? { [kind.value]: text } : await guess(text);
    button.disabled = false;
    // Whoever has gone on meanwhile is not called back.
    if (location.hash !== before) return;
    const { id, ...rest } = { ...asked, ...meant };
    if (rest.address && !rest.port) Object.assign(rest, addressIn(rest.address));
    go(id ? idHref(id) : searchHref(rest));
  });
  return form;
}

// Offers the configured routes.
function showRoutes(form) {
  const paths = [...new Set(listOf(gateway.config.routes).map(({ path }) => String(path)))];
  fill(form.querySelector("datalist"), paths, () => make("option"), (option, path) => {
    option.value = path;
  });
}

// The list: pages, one behind the other.
class Found {
  #query;
  #port;
  #rows = [];
  #cursor;
  #table = new Table("Connections that were found", COLUMNS, { id: "connections" });
  #more = make("button", { type: "button", id: "more", hidden: true });
  #count = make("span", { class: "small", role: "status", id: "found" });
  #notice = new Notice();
  #said = new Notice("status");
  #endAll = null;
  #none = make("div", { class: "none", hidden: true });

  constructor(query, port) {
    this.#query = query;
    this.#port = port;
    this.#more.addEventListener("click", () => this.#poll());
    this.element = card("Connections", { id: "found-card", note: this.#count },
      sayGuess(query), this.#notice.element, this.#said.element, this.#none, this.#table.element,
      make("div", { class: "row" }, this.#more, this.#end()));
  }

  // Who is asked for by one name can be told to go by it.
  #end() {
    const given = Object.keys(this.#query);
    const [name] = given;
    if (given.length !== 1 || !["user", "topic"].includes(name)) return null;
    const value = this.#query[name];
    const whom = name === "user" ? `all of user “${value}”` : `all subscribers of topic “${value}”`;
    const button = make("button", { type: "button", class: "danger", text: `Disconnect ${whom}…` });
    button.addEventListener("click", async () => {
      button.disabled = true;
      const reach = await this.#reach(name, value).catch(() => "");
      button.disabled = false;
      if (!button.isConnected) return;
      const told = await disconnect({ [name]: value }, whom, reach);
      if (told) this.#said.say(told, "done");
    });
    this.#endAll = button;
    return button;
  }

  // How many that is for.
  async #reach(name, value) {
    const say = (number, more = "") => `It is for ${more}${count(number, "connection")} now.`;
    if (name === "topic") return say((await find(value))?.subscribers ?? 0);
    let [number, cursor] = [0, undefined];
    for (let asked = 0; asked < ASKED_MAX; asked += 1) {
      const page = await ask(withQuery("v1/connections",
        { user: value, limit: PAGE_MAX, cursor }));
      number += listOf(page.connections).length;
      ({ cursor } = page);
      if (typeof cursor !== "string") return say(number);
    }
    return say(number, "more than ");
  }

  async #poll() {
    this.#more.disabled = true;
    try {
      await this.next();
    } catch (error) {
      this.fail(error);
    } finally {
      this.#more.disabled = false;
    }
  }

  fail(error) {
    this.#notice.say(describe(error));
    if (error.code !== "invalid_request" || !this.#query.route) return;
    const paths = [...new Set(listOf(gateway.config.routes).map(({ path }) => path))];
    this.#suggest("The configured routes are", paths.map((path) =>
      [path, searchHref({ ...this.#query, route: path })]));
  }

  // Asks for the next page, until there is something on it.
  async next() {
    if (this.#rows.length >= ROWS_MAX) this.#rows = [];
    const before = this.#rows.length;
    for (let asked = 0; asked < ASKED_MAX; asked += 1) {
      const limit = this.#port ? PAGE_MAX : PAGE;
      const asks = { ...this.#query, limit, cursor: this.#cursor };
      const page = await ask(withQuery("v1/connections", asks));
      this.#rows.push(...listOf(page.connections).filter(isFrom(this.#port)));
      this.#cursor = typeof page.cursor === "string" ? page.cursor : undefined;
      if (this.#cursor === undefined || this.#rows.length > before) break;
    }
    this.#notice.say("");
    this.#show();
  }

  #show() {
    this.#table.show(this.#rows);
    this.#more.hidden = this.#cursor === undefined;
    setText(this.#more, this.#rows.length >= ROWS_MAX ? "Go on from here" : "More");
    const end = this.#cursor === undefined ? "" : ", and there are more";
    setText(this.#count, this.#rows.length ? `${whole(this.#rows.length)} shown${end}` : "");
    this.#none.hidden = true;
    if (this.#endAll) this.#endAll.hidden = this.#rows.length === 0;
    if (this.#rows.length === 0 && this.#cursor === undefined) this.#sayNone();
  }

  #sayNone() {
    const given = FIELDS.filter((name) => this.#query[name]);
    const said = (name) => `${name} “${this.#query[name]}”` +
      (name === "address" && this.#port ? ` with port ${this.#port}` : "");
    const what = given.map(said).join(" and ");
    const text = given.length ? `No connection of ${what} is here now.`
      : "Nobody is connected.";
    const [only] = given;
    const value = this.#query[only];
    const others = ["user", "topic"].filter((name) => name !== only);
    const tries = given.length === 1 && ["user", "topic", "route", "address"].includes(only)
      ? others.map((name) => [`as ${name}`, searchHref({ [name]: value })]) : [];
    if (this.#port) {
      tries.splice(0, Infinity, [`${this.#query.address} with any port`, searchHref(this.#query)]);
    } else if (given.length > 1) {
      tries.push(...given.map((name) =>
        [`${name} “${this.#query[name]}” alone`, searchHref({ [name]: this.#query[name] })]));
    }
    if (given.length) tries.push(["all connections", "#/connections"]);
    const hint = "Names have to be the same letter by letter. Try:";
    this.#suggest(text, tries, tries.length ? hint : "");
  }

  #suggest(text, links, hint = "") {
    this.#none.hidden = false;
    const items = links.map(([name, href]) => make("li", {}, link(href, name)));
    this.#none.replaceChildren(make("p", { text }), make("p", { class: "small", text: hint }),
      make("ul", { class: "tries" }, items));
  }
}

export function open(_, query) {
  const asked = Object.fromEntries(FIELDS.filter((name) => query[name])
    .map((name) => [name, query[name]]));
  const port = asked.address && /^\d+$/.test(query.port) ? query.port : undefined;
  const found = new Found(asked, port);
  const form = searchForm(query);
  // Who looks for somebody may find them gone.
  const { user, address } = asked;
  const gone = user || address
    ? new Ends("Those that have ended", "None that is remembered: each shard keeps its last 512.")
    : null;
  const element = make("div", { class: "cards" },
    card("Find connections", { id: "search-card" }, form), found.element, gone?.element);
  // Asked once, unless it fails.
  const poll = new Poll(async () => {
    await found.next();
    await gone?.ask({ user, address, limit: port ? PAGE_MAX : ENDS }, isFrom(port));
    poll.stop();
  }, NEVER_MS, (error) => found.fail(error));
  return { title, element, polls: [poll], show: () => showRoutes(form) };
}

