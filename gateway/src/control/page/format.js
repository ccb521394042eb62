// Numbers, sizes and times as people read them. What is not there is a dash.

export const NOTHING = "–";

export const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

// 12, 9,999, 12.3 k, 4.56 M; with a unit behind it.
export function short(value, unit = "") {
  if (!isNumber(value)) return NOTHING;
  const steps = [[1e15, "P"], [1e12, "T"], [1e9, "G"], [1e6, "M"], [1e4, "k"]];
  const [size, letter] = steps.find(([step]) => Math.abs(value) >= step) ?? [1, ""];
  if (letter === "") {
    const digits = Number.isInteger(value) || Math.abs(value) >= 100 ? 0 : 1;
    return value.toLocaleString("en", { maximumFractionDigits: digits }) + unit;
  }
  return `${threeDigits(value / (letter === "k" ? 1e3 : size))} ${letter}${unit}`;
}

const threeDigits = (value) => value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0);

export function bytes(value) {
  if (!isNumber(value)) return NOTHING;
  if (Math.abs(value) < 10_240) return `${Math.round(value).toLocaleString("en")} B`;
  const units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
  let scaled = value / 1024;
  let at = 0;
  for (; scaled >= 1000 && at < units.length - 1; at += 1) scaled /= 1024;
  return `${threeDigits(scaled)} ${units[at]}`;
}

export const perSecond = (value) => (isNumber(value) ? `${short(value)}/s` : NOTHING);
export const bytesPerSecond = (value) => (isNumber(value) ? `${bytes(value)}/s` : NOTHING);
export const whole = (value) => (isNumber(value) ? value.toLocaleString("en") : NOTHING);

export function percent(share) {
  if (!isNumber(share)) return NOTHING;
  return `${(100 * share).toFixed(share !== 0 && Math.abs(share) < 0.0995 ? 1 : 0)} %`;
}

export function microseconds(nanoseconds) {
  if (!isNumber(nanoseconds)) return NOTHING;
  return nanoseconds < 1e7 ? short(nanoseconds / 1e3, " µs") : short(nanoseconds / 1e6, " ms");
}

export function duration(seconds) {
  if (!isNumber(seconds)) return NOTHING;
  const [days, hours, minutes] =
    [seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60].map(Math.floor);
  if (days > 0) return `${days} d ${hours} h`;
  if (hours > 0) return `${hours} h ${minutes} min`;
  if (minutes > 0) return `${minutes} min ${Math.floor(seconds % 60)} s`;
  return `${Math.max(0, Math.floor(seconds))} s`;
}

// The same of what may be very short.
export function timeSpan(seconds) {
  const isBrief = isNumber(seconds) && seconds >= 0 && seconds < 1;
  return isBrief ? `${Math.round(1000 * seconds)} ms` : duration(seconds);
}

// The same in a few letters, for a column: "now", "7 min", "3 h".
export function age(at, now) {
  if (!isNumber(at) || !isNumber(now)) return NOTHING;
  const seconds = (now - at) / 1000;
  if (seconds < 2) return "now";
  return duration(seconds).split(" ").slice(0, 2).join(" ");
}

// Milliseconds since 1970 of a time of the API; undefined if it is none.
export function millis(text) {
  const at = typeof text === "string" ? Date.parse(text) : NaN;
  return Number.isNaN(at) ? undefined : at;
}

const two = (number) => String(number).padStart(2, "0");

// 14:03:10, by the clock of whoever looks.
export function clock(at) {
  if (!isNumber(at)) return NOTHING;
  const date = new Date(at);
  return [date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(":");
}

export const clockMinutes = (at) => (isNumber(at) ? clock(at).slice(0, 5) : NOTHING);

// The same with its day, if that is another than that of `now`.
export function moment(at, now = Date.now()) {
  if (!isNumber(at)) return NOTHING;
  const date = new Date(at);
  if (date.toDateString() === new Date(now).toDateString()) return clock(at);
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${clock(at)}`;
}

// How long ago that was.
export function ago(at, now) {
  if (!isNumber(at) || !isNumber(now)) return NOTHING;
  const seconds = (now - at) / 1000;
  return seconds < 2 ? "just now" : `${duration(seconds)} ago`;
}

// How many there are of something.
export const count = (number, one, many = `${one}s`) =>
  `${whole(number)} ${number === 1 ? one : many}`;

// A round number that is not below the value, to draw up to.
export function roundUp(value) {
  if (!(value > 0)) return 1;
  const step = 10 ** Math.floor(Math.log10(value));
  return step * [1, 1.5, 2, 3, 4, 5, 6, 8, 10].find((factor) => factor * step >= value);
}

// The same for bytes, which are counted in powers of two.
export function roundUpBytes(value) {
  if (!(value > 0)) return 1;
  const step = 2 ** Math.floor(Math.log2(value));
  return step * [1, 1.5, 2].find((factor) => factor * step >= value);
}
