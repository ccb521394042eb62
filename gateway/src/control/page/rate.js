// How fast a count rises.

const OVER_MS = 10_000;           // what it is averaged over
const SPAN_MS_MIN = 5000;         // below that it is noise

export class Rate {
  #seen = [];                     // { at, epoch, value }, the oldest first

  // Per second, over the last ten; undefined until it was seen for five. A count of another epoch,
  // one that went down, or one that nobody looked at for long, begins anew.
  of(value, epoch) {
    const at = performance.now();
    const last = this.#seen.at(-1);
    if (!Number.isFinite(value)) this.#seen = [];
    else {
      const isOld = last && at - last.at > OVER_MS;
      if (isOld || (last && (last.epoch !== epoch || value < last.value))) this.#seen = [];
      this.#seen.push({ at, epoch, value });
    }
    // The one before the stretch begins is where it is counted from.
    while (this.#seen.length > 2 && at - this.#seen[1].at >= OVER_MS) this.#seen.shift();
    const [first] = this.#seen;
    if (!first || at - first.at < SPAN_MS_MIN) return undefined;
    return 1000 * (value - first.value) / (at - first.at);
  }

  clear() {
    this.#seen = [];
  }
}
