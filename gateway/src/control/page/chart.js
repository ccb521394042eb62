// The last hour, drawn: lines, or bars on top of each other. What a pointer or the arrow keys are
// at is told in the legend, with its time.

import { listOf, make, makeSvg, setText } from "./dom.js";
import { clock, clockMinutes, isNumber, NOTHING, roundUp, short } from "./format.js";

const WIDTH = 720;
const HEIGHT = 100;
const SPAN_MS_MIN = 600_000;      // so that the first points are not a speck
const UNKNOWN = "Not known yet.";
const GAPS = 2.5;                 // of how many stretches a line is broken

let charts = 0;

export class Chart {
  #points = [];
  #series = [];
  #kind;
  #format;
  #round;
  #stretchMs = 10_000;
  #at = null;                     // the point that is looked at
  #svg;
  #plot;
  #cursor;
  #top;
  #axis;
  #when;
  #legend;
  #empty;
  #emptyText;

  // `kind` is "lines" or "bars"; `format` is for the legend and the axis.
  constructor(title, { kind = "lines", format = short, round = roundUp, empty = "", note } = {}) {
    this.#kind = kind;
    this.#format = format;
    this.#round = round;
    this.#emptyText = empty;
    charts += 1;
    const id = `chart-${charts}`;
    this.#svg = makeSvg("svg", {
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true",
    });
    this.#cursor = make("span", { class: "cursor", hidden: true });
    this.#top = make("span", { class: "top-value" });
    this.#empty = make("span", { class: "plot-empty", hidden: true });
    this.#axis = make("div", { class: "axis", "aria-hidden": "true" },
      make("span"), make("span"), make("span"));
    this.#when = make("span", { class: "small when" });
    this.#legend = make("ul", { class: "legend" });
    this.#plot = make("div", {
      class: "plot", tabindex: "0", role: "slider", "aria-labelledby": id, "aria-valuemin": "0",
      "aria-valuemax": "0", "aria-valuenow": "0",
      on: {
        pointermove: (event) => this.#point(event), pointerdown: (event) => this.#point(event),
        pointerleave: () => this.#look(null), blur: () => this.#look(null),
        focus: () => this.#look(this.#at ?? this.#points.length - 1),
        keydown: (event) => this.#key(event),
      },
    }, this.#svg, this.#top, this.#empty, this.#cursor);
    this.element = make("section", { class: "card chart", "aria-labelledby": id },
      make("div", { class: "head" }, make("h2", { id, text: title }), this.#when),
      this.#plot, this.#axis, this.#legend, note && make("p", { class: "hint", text: note }));
  }

  // `points` have `at`, in milliseconds; a series has a label, a colour, and `value` of a point,
  // and what stands in the legend while nothing is looked at: `total`, or the last value.
  show(points, series, stretchMs) {
    const looked = this.#points[this.#at]?.at;
    this.#points = points;
    this.#series = series;
    this.#stretchMs = stretchMs;
    const again = points.findIndex((point) => point.at === looked);
    this.#at = again >= 0 ? again : null;
    this.#draw();
    this.#tell();
  }

  #range() {
    const last = this.#points.at(-1)?.at ?? Date.now();
    const first = Math.min(this.#points[0]?.at ?? last, last - SPAN_MS_MIN);
    return { first: first - this.#stretchMs, last };
  }

  #x(at) {
    const { first, last } = this.#range();
    return WIDTH * (at - first) / (last - first);
  }

  #draw() {
    const bars = this.#kind === "bars";
    const most = this.#points.reduce((top, point) => {
      const values = this.#series.map(({ value }) => value(point)).filter(isNumber);
      const own = bars ? values.reduce((sum, one) => sum + one, 0) : Math.max(0, ...values);
      return Math.max(top, own);
    }, 0);
    const top = this.#round(most);
    const paths = bars ? this.#bars(top) : this.#lines(top);
    this.#svg.replaceChildren(...paths);
    const isUnknown = this.#points.length === 0;
    const isEmpty = isUnknown || (bars && most === 0);
    this.#empty.hidden = !isEmpty;
    setText(this.#empty, isUnknown ? UNKNOWN : this.#emptyText);
    const each = bars ? ` in ${this.#stretchMs / 1000} s` : "";
    setText(this.#top, isEmpty ? "" : this.#format(top) + each);
    const { first, last } = this.#range();
    const times = [first, (first + last) / 2, last].map(clockMinutes);
    times.forEach((time, at) => setText(this.#axis.children[at], time));
  }

  #lines(top) {
    const height = (value) => (HEIGHT - HEIGHT * value / top).toFixed(2);
    return this.#series.flatMap(({ colour, value }, index) => {
      const runs = [];
      let last = -Infinity;
      for (const point of this.#points) {
        const number = value(point);
        if (!isNumber(number)) continue;
        if (point.at - last > GAPS * this.#stretchMs) runs.push([]);
        runs.at(-1).push(`${this.#x(point.at).toFixed(1)} ${height(number)}`);
        last = point.at;
      }
      // A run of one point is a line of no length, which round caps make a dot.
      const line = runs.map((run) => `M${run.join("L")}${run.length === 1 ? `L${run[0]}` : ""}`);
      const foot = (place) => `${place.split(" ")[0]} ${HEIGHT}`;
      const area = runs.map((run) =>
        `M${foot(run[0])}L${run.join("L")}L${foot(run.at(-1))}Z`);
      const drawn = makeSvg("path", { class: `line c${colour}`, d: line.join("") });
      const filled = makeSvg("path", { class: `area c${colour}`, d: area.join("") });
      return index === 0 ? [filled, drawn] : [drawn];
    });
  }

  #bars(top) {
    const left = (point) => this.#x(point.at - this.#stretchMs);
    const feet = this.#points.map(() => 0);
    return this.#series.map(({ colour, value }) => {
      const path = this.#points.map((point, at) => {
        const number = value(point);
        if (!(number > 0)) return "";
        const [foot, head] = [feet[at], feet[at] + number];
        feet[at] = head;
        const [x, width] = [left(point), this.#x(point.at) - left(point)];
        const [y, tall] = [HEIGHT - HEIGHT * head / top, HEIGHT * (head - foot) / top];
        return `M${x.toFixed(1)} ${y.toFixed(2)}h${width.toFixed(1)}v${tall.toFixed(2)}` +
          `h${(-width).toFixed(1)}z`;
      });
      return makeSvg("path", { class: `bars c${colour}`, d: path.join("") });
    });
  }

  #point(event) {
    const box = this.#plot.getBoundingClientRect();
    const { first, last } = this.#range();
    const at = first + (last - first) * (event.clientX - box.left) / box.width;
    // A bar ends at its point's time, and a line is nearest to it.
    const half = this.#kind === "bars" ? this.#stretchMs / 2 : 0;
    const far = (point) => Math.abs(point.at - half - at);
    const nearest = this.#points.reduce((best, point, index) =>
      (best === null || far(point) < far(this.#points[best]) ? index : best), null);
    this.#look(nearest);
  }

  #key(event) {
    const minute = Math.round(60_000 / this.#stretchMs);
    const last = this.#points.length - 1;
    const now = this.#at ?? last;
    const to = {
      ArrowLeft: now - 1, ArrowRight: now + 1, ArrowDown: now - 1, ArrowUp: now + 1,
      PageDown: now - minute, PageUp: now + minute, Home: 0, End: last, Escape: null,
    };
    if (!(event.key in to)) return;
    event.preventDefault();
    this.#look(to[event.key] === null ? null : Math.min(Math.max(to[event.key], 0), last));
  }

  #look(at) {
    this.#at = at >= 0 && at < this.#points.length ? at : null;
    this.#tell();
  }

  // What stands in the legend, beside the title, and for who cannot see it.
  #tell() {
    const point = this.#at === null ? undefined : this.#points[this.#at];
    const shown = point ?? this.#points.at(-1);
    this.#cursor.hidden = !point;
    if (point) {
      const half = this.#kind === "bars" ? this.#stretchMs / 2 : 0;
      this.#cursor.style.left = `${100 * this.#x(point.at - half) / WIDTH}%`;
    }
    const isTotal = !point && this.#kind === "bars";
    const covered = isTotal ? this.#covered() : `last ${this.#stretchMs / 1000} s`;
    const isUnknown = this.#points.length === 0;
    setText(this.#when, point ? clock(point.at) : isUnknown ? "" : covered);
    const told = this.#series.map(({ label, hint, colour, total, value }) => ({
      label, hint, colour,
      text: isTotal ? short(total) : shown ? this.#format(value(shown)) : NOTHING,
    }));
    this.#legend.hidden = told.length === 0;
    while (this.#legend.childElementCount > told.length) this.#legend.lastElementChild.remove();
    told.forEach((one, at) => this.#entry(at, one));
    const { dataset } = this.#plot;
    dataset.points = this.#points.length;
    this.#plot.setAttribute("aria-valuemax", Math.max(this.#points.length - 1, 0));
    this.#plot.setAttribute("aria-valuenow", this.#at ?? Math.max(this.#points.length - 1, 0));
    const words = told.map(({ label, text }) => `${label} ${text}`).join(", ");
    this.#plot.setAttribute("aria-valuetext", isUnknown ? UNKNOWN
      : `${this.#when.textContent}: ${words || "nothing"}`);
  }

  #covered() {
    const { length } = this.#points;
    const minutes = Math.round(length * this.#stretchMs / 60_000);
    return minutes >= 59 ? "total of the hour" : `total of ${Math.max(minutes, 1)} min`;
  }

  #entry(at, { label, hint, colour, text }) {
    const entry = this.#legend.children[at] ?? make("li", {},
      make("i"), make("span", { class: "label" }), make("b"));
    if (!entry.parentNode) this.#legend.append(entry);
    entry.firstElementChild.className = `swatch c${colour}`;
    entry.title = hint ?? "";
    setText(entry.children[1], label);
    setText(entry.children[2], text);
  }
}

// The points of what `/v1/recent` has told, no more than an hour.
export function pointsOf(recent, millis) {
  const points = listOf(recent.stretches).map((one) => ({ ...one, at: millis(one.time) }));
  return points.filter(({ at }) => isNumber(at)).slice(-360);
}
