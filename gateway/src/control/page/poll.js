// Asks again and again, while somebody looks: not in a hidden tab, not while it is paused, and
// more rarely while it fails.

const BACKOFF_MS_MAX = 30_000;

const polls = new Set();
let isPaused = false;
let isHeld = false;

const mayAsk = () => !isPaused && !isHeld && !document.hidden;

export class Poll {
  #ask;
  #everyMs;
  #onError;
  #timer = 0;
  #isAsking = false;
  failures = 0;
  retryAt = 0;

  // `ask` is a promise of having shown what there is, `onError` is told why that failed.
  constructor(ask, everyMs, onError = () => {}) {
    this.#ask = ask;
    this.#everyMs = everyMs;
    this.#onError = onError;
  }

  start() {
    polls.add(this);
    if (mayAsk()) this.now();
    return this;
  }

  stop() {
    polls.delete(this);
    clearTimeout(this.#timer);
  }

  async now() {
    if (this.#isAsking) return;
    this.#isAsking = true;
    clearTimeout(this.#timer);
    let wait = this.#everyMs;
    try {
      await this.#ask();
      this.failures = 0;
    } catch (error) {
      this.failures += 1;
      wait = Math.min(this.#everyMs * 2 ** (this.failures - 1), BACKOFF_MS_MAX);
      this.retryAt = Date.now() + wait;
      if (polls.has(this)) this.#onError(error);
    } finally {
      // Also if `onError` has failed.
      this.#isAsking = false;
      if (polls.has(this) && mayAsk()) this.#timer = setTimeout(() => this.now(), wait);
    }
  }

  halt() {
    clearTimeout(this.#timer);
  }
}

// By whoever looks.
export function pause(paused) {
  isPaused = paused;
  goOnOrHalt();
}

// While there is no use in asking.
export function hold(held) {
  isHeld = held;
  goOnOrHalt();
}

function goOnOrHalt() {
  for (const poll of polls) {
    if (mayAsk()) poll.now();
    else poll.halt();
  }
}

document.addEventListener("visibilitychange", goOnOrHalt);
