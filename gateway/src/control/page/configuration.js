// What the gateway runs with.

import { describe } from "./api.js";
import { card, facts, listOf, make, setText, Table } from "./dom.js";
import { isNumber, NOTHING } from "./format.js";
import { gateway } from "./gateway.js";
import { searchHref } from "./links.js";

export const title = "Configuration";

// What an address that stands for all has to be for this page.
const ALL = /^(0\.0\.0\.0|\[::\])(?=:)/;

// Layers below which HTTP is plain.
const PLAIN = ["log", "ws", "tcp"];
const isPlain = ({ address, stack }) => typeof address === "string" && typeof stack === "string" &&
  stack.split("!").every((layer) => PLAIN.includes(layer.split("?")[0]));

// Where the built-in console is; undefined if there is none that a link can lead to.
export function consoleAddress({ listeners, routes }) {
  const isConsole = ({ path, subprotocol, handler }) => handler === "static" && !subprotocol &&
    typeof path === "string" && !path.includes("{");
  const [route, listener] = [listOf(routes).find(isConsole), listOf(listeners).find(isPlain)];
  if (!route || !listener) return undefined;
  const address = listener.address.replace(ALL, location.hostname || "localhost");
  return `http://${address}${route.path}`;
}

const text = (value) => (value === undefined || value === null ? NOTHING : String(value));
const pairs = (settings) => listOf(settings).map(({ name, value }) => [text(name), text(value)]);
const settingsText = (settings) =>
  pairs(settings).map(([name, value]) => `${name} = ${value}`).join(", ");

const LISTENERS = [
  { title: "Address", kind: "name", text: ({ address }) => text(address) },
  { title: "Stack", kind: "name code", text: ({ stack }) => text(stack) },
];
const CERTIFICATES = [
  { title: "Certificate", kind: "name code", text: ({ cert }) => text(cert) },
  { title: "Key", kind: "name code", text: ({ key }) => text(key) },
  { title: "Names", kind: "name wide",
    text: ({ names }) => (Array.isArray(names) && names.length ? names.map(text).join(", ")
      : "those that it has") },
];
const ROUTES = [
  { title: "Path", kind: "name", update: (cell, { path, subprotocol }) => {
    const href = searchHref({ route: path, subprotocol: subprotocol ?? "" });
    cell.replaceChildren(make("a", { href, text: text(path) }));
  } },
  { title: "Subprotocol", text: ({ subprotocol }) => subprotocol ?? "any" },
  { title: "Handler", kind: "name code", text: ({ handler }) => text(handler) },
  { title: "Limits", kind: "name wide", text: ({ settings }) => settingsText(settings) },
];
const TOPICS = [
  { title: "Pattern", kind: "name", text: ({ name }) => text(name) },
  { title: "What is kept", kind: "name wide", text: ({ settings }) => settingsText(settings) },
];

// By the table of the file that they are in; those of none come first.
function groups(settings) {
  const found = new Map();
  for (const [name, value] of pairs(settings)) {
    const [table, key] = name.includes(".") ? name.split(/\.(.*)/s) : ["", name];
    found.set(table, [...found.get(table) ?? [], [key, value]]);
  }
  return [...found].flatMap(([table, entries]) => [
    table && make("h3", { class: "settings-group", text: `[${table}]` }), keys(entries)]);
}

function keys(entries) {
  const list = facts(entries);
  list.classList.add("keys");
  return list;
}

function tokens({ admin }) {
  if (!isNumber(admin?.tokens)) return NOTHING;
  return admin.tokens === 0 ? "none: whoever reaches the address may do everything"
    : `${admin.tokens}, which are not shown`;
}

export function open() {
  const element = make("div", { class: "cards" });
  let shown;
  const show = () => {
    const { config } = gateway;
    if (config === shown) return;
    shown = config;
    if (config.error) {
      element.replaceChildren(make("p", { class: "notice", text: describe(config.error) }));
    } else if (config.version !== undefined) {
      element.replaceChildren(...cardsOf(config));
    }
  };
  return { title, element, show };
}

function cardsOf(config) {
  const table = (name, id, columns, rows, empty) => {
    const made = new Table(name, columns, { id });
    made.show(rows);
    const none = make("p", { class: "empty", text: empty, hidden: rows.length > 0 });
    return [made.element, none];
  };
  const warnings = Array.isArray(config.warnings) ? config.warnings : [];
  const { driver = {} } = config;
  const why = make("span", {});
  setText(why, `${text(driver.kind)}: ${text(driver.why)}`);
  return [
    card("This gateway", { id: "gateway-card" }, facts([
      ["Host", text(config.host)], ["Node", text(config.node)], ["Version", text(config.version)],
      ["Shards", text(config.shards)], ["Admin address", text(config.admin?.address)],
      ["Tokens", tokens(config)], ["Asks the kernel by", why],
    ])),
    card("Warnings of the start", { id: "warnings-card" }, warnings.length
      ? make("ul", { class: "warning-list" },
        warnings.map((one) => make("li", { text: text(one) })))
      : make("p", { class: "empty", text: "None." })),
    card("Listeners", { id: "listeners-card" },
      ...table("Listeners", "listeners", LISTENERS, listOf(config.listeners), "There is none.")),
    ...(listOf(config.certificates).length ? [card("Certificates", { id: "certificates-card" },
      ...table("Certificates", "certificate-files", CERTIFICATES, listOf(config.certificates),
        ""))] : []),
    card("Routes", { id: "routes-card" },
      ...table("Routes", "routes-table", ROUTES, listOf(config.routes), "There is none.")),
    card("Topics of which something is kept", { id: "rules-card" },
      ...table("Topics", "rules", TOPICS, listOf(config.topics),
        "None: a [[topic]] keeps history or presence.")),
    card("Limits and all else", { id: "settings-card", note: make("span", { class: "small",
      text: "by their keys in the file" }) },
    make("div", { id: "settings" }, groups(config.settings))),
  ];
}
