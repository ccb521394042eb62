// Where things are on this page.

import { withQuery } from "./api.js";
import { make } from "./dom.js";
import { NOTHING } from "./format.js";

export const searchHref = (parameters) => withQuery("#/connections", parameters);
export const idHref = (id) => `#/connection/${encodeURIComponent(String(id))}`;
export const topicHref = (name) => `#/topic/${encodeURIComponent(String(name))}`;
export const topicsHref = (prefix) => withQuery("#/topics", { prefix });

export const eventsHref = (reason) => withQuery("#/events", { reason });

export const link = (href, text) => make("a", { href, text: String(text) });
export const connectionLink = (id) => (id ? link(idHref(id), id) : NOTHING);

// Goes to a view, or opens it anew.
export function go(hash) {
  const before = location.hash;
  location.hash = hash;
  if (location.hash === before) window.dispatchEvent(new HashChangeEvent("hashchange"));
}
