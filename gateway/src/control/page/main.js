// The frame of the page: which view is shown, how the gateway is, whether it answers, the token.

import {
  askText, describe, hasToken, keepToken, mayBeToken, onTokenWanted, recallToken,
} from "./api.js";
import * as configuration from "./configuration.js";
import * as connection from "./connection.js";
import * as connections from "./connections.js";
import * as counters from "./counters.js";
import { byId, make, setText } from "./dom.js";
import * as events from "./events.js";
import { duration, isNumber } from "./format.js";
import { askOverview, gateway } from "./gateway.js";
import * as memory from "./memory.js";
import * as overview from "./overview.js";
import { hold, pause, Poll } from "./poll.js";
import * as topic from "./topic.js";
import * as topics from "./topics.js";

const OVERVIEW_MS = 1000;
const BESIDE_MS = 60_000;         // for which what was opened in a tab beside can be loaded

// By the first part of the path behind "#/". A view has a title, and opens for the rest of the path
// and the query; what it opens has an element, its polls, and `show` for a new overview.
const VIEWS = {
  "": overview, connections, connection, topics, topic, events, configuration, memory, counters,
};
// What the gateway tells beside, to whoever may ask.
const ASKED = [["API", "openapi.json"], ["Metrics", "metrics"]];
// Under which of the links a view is.
const UNDER = { connection: "connections", topic: "topics" };

let opened = null;
let isPaused = false;
let isTokenAsked = false;
let answeredAt = 0;               // by this page's clock
let shownState = "unknown";

// ---- Views ----

// The view that the address names, with what it is asked for; `null` of one that is none.
function place() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  const [name, ...rest] = path.split("/");
  if (!Object.hasOwn(VIEWS, name)) return null;
  try {
    const argument = decodeURIComponent(rest.join("/"));
    return { name, argument, query: Object.fromEntries(new URLSearchParams(query ?? "")) };
  } catch {
    return null;
  }
}

const closeDialogs = () => document.querySelectorAll("dialog").forEach((one) => one.close());

function open(isFirst) {
  closeDialogs();
  for (const poll of opened?.polls ?? []) poll.stop();
  const { name, argument, query } = place() ?? { name: null };
  opened = name === null ? nothing() : VIEWS[name].open(argument, query);
  opened.name = name;
  byId("view").replaceChildren(
    make("h1", { text: opened.title, tabindex: "-1", class: name === "" ? "unseen" : "" }),
    opened.element);
  for (const link of document.querySelectorAll("#nav > a")) {
    const isIt = link.getAttribute("href") === `#/${UNDER[name] ?? name}`;
    if (isIt) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  unfold(false);
  setTitle();
  opened.show?.();
  for (const poll of opened.polls ?? []) poll.start();
  if (!isFirst) {
    window.scrollTo(0, 0);
    byId("view").querySelector("h1").focus({ preventScroll: true });
  }
}

function nothing() {
  const text = "This link leads to nothing that is here.";
  return { title: "Not found", element: make("p", { class: "card", text }) };
}

// What tells this tab from those of other gateways.
function setTitle() {
  const { host, node } = gateway.config;
  const name = host ?? (isNumber(node) ? `node ${node}` : "gateway");
  const parts = [`${shownState} · ${name}`, opened?.name ? opened.title : null, "Tidegate"];
  document.title = parts.filter(Boolean).join(" · ");
}

// ---- How it is ----

function setState(state) {
  shownState = state;
  byId("state").dataset.state = state;
  setText(byId("state"), isPaused ? `${state}, paused` : state);
  setTitle();
}

function showFrame() {
  const { overview: told, config } = gateway;
  setState(typeof told.state === "string" ? told.state : "unknown");
  setText(byId("host"), typeof config.host === "string" ? config.host : "");
  const isKnown = isNumber(told.started_at) && isNumber(told.now);
  const facts = [`up ${duration(isKnown ? told.now / 1000 - told.started_at : undefined)}`];
  if (told.version !== undefined) facts.push(`version ${told.version}`);
  if (told.node !== undefined) facts.push(`node ${told.node}`);
  if (told.driver?.kind !== undefined) facts.push(`by ${told.driver.kind}`);
  setText(byId("facts"), facts.join(" · "));
  byId("facts").title = typeof told.driver?.why === "string" ? told.driver.why : "";
  showLinks(config);
}

function showLinks(config) {
  const links = [...ASKED];
  const address = configuration.consoleAddress(config);
  if (address) links.unshift(["Console", address]);
  const key = JSON.stringify(links);
  if (byId("links").dataset.shown === key) return;
  byId("links").dataset.shown = key;
  byId("links").replaceChildren(...links.map(([text, href]) =>
    make("a", { href, text, target: "_blank", rel: "noopener", on: { click: openAsked } })));
}

// A tab beside has no token to ask with: what it shows is asked for here.
async function openAsked(clicked) {
  const path = clicked.currentTarget.getAttribute("href");
  if (!hasToken() || !ASKED.some(([, asked]) => asked === path)) return;
  clicked.preventDefault();
  const text = await askText(path).catch(describe);
  const url = URL.createObjectURL(new Blob([text], { type: "text/plain;charset=utf-8" }));
  window.open(url, "_blank", "noopener");
  setTimeout(() => URL.revokeObjectURL(url), BESIDE_MS);
}

// ---- Whether it answers ----

const watching = new Poll(async () => {
  await askOverview();
  answeredAt = Date.now();
  byId("trouble").hidden = true;
  byId("view").dataset.stale = "false";
  showFrame();
  opened?.show?.();
}, OVERVIEW_MS, (error) => {
  if (isTokenAsked) return;
  setText(byId("trouble-text"), `The gateway cannot be read. ${describe(error)}`);
  byId("trouble").hidden = false;
  byId("view").dataset.stale = "true";
  setState("unreachable");
  showTrouble();
});

// Apart from the alert, which a screen reader would repeat every second.
function showTrouble() {
  if (byId("trouble").hidden) return;
  const age = duration((Date.now() - answeredAt) / 1000);
  const old = answeredAt ? `What is shown is ${age} old. ` : "";
  const left = Math.ceil((watching.retryAt - Date.now()) / 1000);
  const when = isPaused ? "Paused." : `Trying again ${left > 0 ? `in ${left} s` : "now"}.`;
  setText(byId("trouble-when"), old + when);
}

// ---- The token ----

function askForToken(wasWrong) {
  isTokenAsked = true;
  hold(true);
  byId("trouble").hidden = true;
  byId("token-wrong").hidden = !wasWrong;
  byId("token-form").hidden = false;
  byId("view").hidden = true;
  for (const id of ["nav", "menu"]) byId(id).hidden = true;
  closeDialogs();
  setState("token needed");
  byId("token").focus();
}

byId("token-form").addEventListener("submit", (submitted) => {
  submitted.preventDefault();
  const value = byId("token").value.trim();
  byId("token").value = "";
  if (!mayBeToken(value)) {
    askForToken(true);
    return;
  }
  byId("token-form").hidden = true;
  for (const id of ["view", "nav", "menu"]) byId(id).hidden = false;
  isTokenAsked = false;
  keepToken(value);
  hold(false);
});

// ---- The frame's own buttons ----

function unfold(isOpen) {
  byId("menu").setAttribute("aria-expanded", String(isOpen));
  byId("nav").dataset.open = isOpen;
}

byId("menu").addEventListener("click", () => unfold(byId("nav").dataset.open !== "true"));
byId("pause").addEventListener("click", () => {
  isPaused = !isPaused;
  byId("pause").setAttribute("aria-pressed", String(isPaused));
  setText(byId("pause"), isPaused ? "Go on" : "Pause");
  setState(shownState);
  pause(isPaused);
});
byId("again").addEventListener("click", () => watching.now());
byId("skip").addEventListener("click", (clicked) => {
  clicked.preventDefault();
  byId("view").focus();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") unfold(false);
});
window.addEventListener("hashchange", () => open(false));
setInterval(() => { if (!document.hidden) showTrouble(); }, 1000);

onTokenWanted(askForToken);
recallToken();
open(true);
watching.start();
