// A network that fails: TCP on 127.0.0.1, passed on, cut, held back or refused.

import { once } from "node:events";
import { connect as dial, createServer } from "node:net";

export class Proxy {
  refuses = false;              // who comes is cut off at once
  deafens = false;              // of who comes, the request alone gets through, until `listen`
  #pairs = new Set();
  #server;

  static async to(port) {
    const proxy = new Proxy();
    proxy.#server = createServer({ allowHalfOpen: false }, (near) => proxy.#pass(near, port));
    proxy.#server.listen(0, "127.0.0.1");
    await once(proxy.#server, "listening");
    proxy.port = proxy.#server.address().port;
    return proxy;
  }

  #pass(near, port) {
    if (this.refuses) return near.destroy();
    const far = dial(port, "127.0.0.1");
    // A stream that is piped twice says everything twice.
    const pair = Object.assign([near, far], { stalled: false, deaf: this.deafens });
    this.#pairs.add(pair);
    const end = () => {
      this.#pairs.delete(pair);
      near.destroy();
      far.destroy();
    };
    for (const from of pair) {
      from.on("error", end);
      from.on("close", end);
    }
    far.pipe(near);
    if (!pair.deaf) return near.pipe(far);
    near.once("data", (request) => {
      near.pause();
      far.write(request);
    });
  }

  // What was said meanwhile gets through.
  listen() {
    this.deafens = false;
    for (const pair of this.#pairs) {
      if (!pair.deaf) continue;
      pair.deaf = false;
      const [near, far] = pair;
      near.pipe(far);
    }
  }

  get count() {
    return this.#pairs.size;
  }

  // Each connection with this chance. What was on its way is lost.
  cut(chance = 1) {
    for (const [near, far] of [...this.#pairs]) {
      if (Math.random() >= chance) continue;
      near.destroy();
      far.destroy();
    }
  }

  // Nothing gets through of who is there, until `flow`; what is written meanwhile waits.
  stall() {
    for (const pair of this.#pairs) {
      const [near, far] = pair;
      near.unpipe(far).pause();
      far.unpipe(near).pause();
      pair.stalled = true;
    }
  }

  flow() {
    for (const pair of this.#pairs) {
      if (!pair.stalled) continue;
      pair.stalled = false;
      const [near, far] = pair;
      near.pipe(far);
      far.pipe(near);
    }
  }

  close() {
    this.cut();
    this.#server.close();
  }
}
