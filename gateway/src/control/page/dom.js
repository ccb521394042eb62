// Makes elements. Text goes in as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";

// An element; `class`, `text`, `data` and `on` are what they say, all else are attributes. Children
// that are null, undefined or false are left out.
export function make(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  const { class: className, text, data = {}, on = {}, ...attributes } = properties;
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  Object.assign(made.dataset, data);
  for (const [name, listener] of Object.entries(on)) made.addEventListener(name, listener);
  setAttributes(made, attributes);
  made.append(...children.flat().filter((child) => child || child === 0));
  return made;
}

export function makeSvg(tag, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, tag);
  setAttributes(made, attributes);
  made.append(...children);
  return made;
}

function setAttributes(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    element.setAttribute(name, value === true ? "" : value);
  }
}

export const byId = (id) => document.getElementById(id);

// What did not change is left alone: a selection in it stays.
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// As many children as there are entries, each filled anew.
export function fill(parent, entries, makeOne, update) {
  while (parent.childElementCount > entries.length) parent.lastElementChild.remove();
  while (parent.childElementCount < entries.length) parent.append(makeOne());
  entries.forEach((entry, at) => update(parent.children[at], entry, at));
}

// The objects of what should be a list of them.
export const listOf = (value) =>
  (Array.isArray(value) ? value.filter((one) => one && typeof one === "object") : []);

// How much of something is used.
export class Bar {
  constructor() {
    this.element = make("span", { class: "bar" }, make("span"));
  }

  show(share, { high = 0.85, full = 0.97 } = {}) {
    const isKnown = Number.isFinite(share);
    const { dataset, firstElementChild } = this.element;
    dataset.unknown = !isKnown;
    dataset.level = isKnown && share >= full ? "full" : isKnown && share >= high ? "high" : "";
    firstElementChild.style.width = isKnown ? `${100 * Math.min(Math.max(share, 0), 1)}%` : "0";
  }
}

// A table whose rows become cards where there is little room. A column has a title, and `text` or
// `update` of a row; `kind` is "number", "name", or nothing.
export class Table {
  #columns;
  #body = make("tbody", { role: "rowgroup" });

  // One that is compact stays a table in any case.
  constructor(label, columns, { id, isCompact = false } = {}) {
    this.#columns = columns;
    const headings = columns.map(({ title, kind, hint }) => make(
      "th", { scope: "col", role: "columnheader", class: kind, title: hint, text: title }));
    this.element = make("div", {
      class: `table-frame ${isCompact ? "compact" : "folds"}`,
    }, make("table", { role: "table", "aria-label": label, id },
      make("thead", { role: "rowgroup" }, make("tr", { role: "row" }, headings)), this.#body));
  }

  show(rows) {
    fill(this.#body, rows, () => this.#row(), (row, entry) => {
      this.#columns.forEach(({ text, update }, at) => {
        const cell = row.children[at];
        if (update) update(cell, entry);
        else setText(cell, text(entry));
      });
    });
    this.element.hidden = rows.length === 0;
  }

  #row() {
    const cells = this.#columns.map(({ title, kind }) =>
      make("td", { role: "cell", class: kind, data: { label: title } }));
    return make("tr", { role: "row" }, cells);
  }
}

// A card with a heading; `note` stands beside it.
export function card(title, { id, note, class: className = "" } = {}, ...children) {
  const heading = make("h2", { text: title, id: id && `${id}-title` });
  return make("section",
    { class: `card ${className}`, id, "aria-labelledby": id && `${id}-title` },
    make("div", { class: "head" }, heading, note), ...children);
}

// A line for what cannot be shown, which is hidden while there is nothing to say.
export class Notice {
  constructor(role = "alert") {
    this.element = make("p", { class: "notice", role, hidden: true });
  }

  say(text, kind = "error") {
    this.element.hidden = !text;
    this.element.dataset.kind = kind;
    setText(this.element, text ?? "");
  }
}

// Term and value, one below the other.
export function facts(pairs) {
  return make("dl", { class: "facts-list" }, pairs.map(([term, value]) => make("div", {},
    make("dt", { text: term }), make("dd", {}, value))));
}
