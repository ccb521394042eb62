// A client of Tidegate: see tidegate.d.ts and proto/CLIENT.md.

const PROTOCOL = "tidegate.v1";
const OPENING_MS = 15_000;      // from the start of an attempt to `hello`
const QUIET_MS = 25_000;        // then a ping is sent
const PONG_MS = 10_000;         // then it is lost
const STEADY_MS = 30_000;       // open for so long, the next wait is short again
const UNREAD_MAX = 1000;        // messages that may be unread
// Codes: no coming back; at once again; later.
const FINAL = new Set([1000, 1002, 1003, 1007, 1008, 1010]);
const AGAIN = new Set(["busy", "too_many_commands"]);
const LATER = new Set(["full", "too_many_subscriptions"]);

const DEFAULTS = {
  WebSocket: globalThis.WebSocket,
  queue: 100,                   // commands that wait to be sent
  timeout: 240_000,             // for an answer, but less than keys are kept
  delay: 500, delayMax: 30_000, // waits before attempts
};

export class TidegateError extends Error {
  name = "TidegateError";
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

const given = (one) => (typeof one === "function" ? one() : one);

class Emitter {
  #handlers = {};

  on(name, handler) {
    const all = this.#handlers[name] ??= new Set();
    all.add(handler);
    return () => all.delete(handler);
  }

  // What a handler throws stops neither the others nor the client.
  emit(name, event) {
    for (const handler of [...this.#handlers[name] ?? []]) {
      try {
        handler(event);
      } catch (error) {
        console.error(error);
      }
    }
  }
}

function encode(content) {
  if (typeof content === "string") return { text: content };
  if (content instanceof ArrayBuffer) content = new Uint8Array(content);
  if (!ArrayBuffer.isView(content)) return { json: content };
  const bytes = new Uint8Array(content.buffer, content.byteOffset, content.byteLength);
  let raw = "";
  for (const byte of bytes) raw += String.fromCharCode(byte);
  return { binary: btoa(raw) };
}

function withData(told) {
  const { text, json, binary } = told;
  told.data = binary === undefined ? text ?? json
    : Uint8Array.from(atob(binary), (letter) => letter.charCodeAt(0));
  return told;
}

function drawKey() {
  // Pages that came by plain http have no randomUUID.
  return crypto.randomUUID?.() ?? crypto.getRandomValues(new Uint32Array(4)).join("-");
}

const backoff = ({ delay, delayMax }, n) => Math.random() * Math.min(delayMax, delay * 2 ** n);
const theirs = ({ own }) => !own;
const member = ({ user, connection }) => user === undefined ? `c${connection}` : `u${user}`;

class Room extends Emitter {
  client; topic; members; total;
  live = false;
  #epoch; #offset; #last; #members; #again = false;

  constructor(client, topic, { since, last } = {}) {
    super();
    this.client = client;
    this.topic = topic;
    this.#last = last;
    if (since) {
      this.#epoch = since.split(":")[0];
      this.#offset = +since.split(":")[1];
    }
  }

  get position() {
    return this.#epoch && `${this.#epoch}:${this.#offset}`;
  }

  get past() {
    return this.position ? { since: this.position } : this.#last ? { last: this.#last } : {};
  }

  publish(content, options) {
    return this.client.publish(content, options, this);
  }

  history(options) {
    return this.client.ask({ type: "history", ...options }, this).then((told) => {
      told.messages.forEach(withData);
      return told;
    });
  }

  // If the answer has everyone, `members` are known from here on.
  async presence(limit) {
    const told = await this.client.ask({ type: "presence", limit }, this);
    if (told.members.length === told.total) this.#present(told);
    return told;
  }

  leave() {
    this.client.left(this);
  }

  async *[Symbol.asyncIterator]() {
    let unread = [], wake;
    const hear = (told) => {
      if (unread?.push(told) > UNREAD_MAX) unread = null;
      wake?.();
    };
    const stop = ["message", "gap", "unsubscribed", "closed"].map((name) => this.on(name, hear));
    try {
      for (;;) {
        if (!unread) throw new TidegateError("too_slow", `more than ${UNREAD_MAX} are unread`);
        const told = unread.shift();
        if (!told) await new Promise((go) => { wake = go; });
        else if (told.topic === undefined || told.type === "unsubscribed") return;
        else yield told;
      }
    } finally {
      stop.forEach((each) => each());
    }
  }

  tell(name, told) {
    this.emit(name, told);
    this.client.emit(name, told);
  }

  #present({ total, members }) {
    this.#members = members && new Map(members.map((one) => [member(one), one]));
    this.total = total;
    this.members = members;
  }

  #comeOrGone(told) {
    const { type, topic, ...who } = told;
    if (this.#members) {
      this.#members.delete(member(who));
      if (type === "join") this.#members.set(member(who), who);
      this.members = [...this.#members.values()];
      this.total = this.members.length;
    } else if (this.total !== undefined) this.total += type === "join" ? 1 : -1;
  }

  hear(told) {
    const { type, epoch, offset, resume } = told;
    if (resume) {
      this.resume = resume;
      this.resumedAt = Date.now();
    }
    // What is told before the answer comes again behind it.
    if (this.awaits && (type !== "subscribed" || told.id === undefined)) return;
    this.awaits = false;
    if (type === "message") {
      if (epoch) {
        if (epoch === this.#epoch && offset <= this.#offset) return;
        this.#stand(epoch, offset);
      }
      withData(told);
    } else if (type === "replayed") this.#stand(epoch, offset);
    else if (type === "presence") this.#present({ total: told.total });
    else if (type === "join" || type === "leave") this.#comeOrGone(told);
    else if (type === "subscribed") return this.#subscribed(told);
    this.tell(type, told);
  }

  #stand(epoch, offset) {
    this.#epoch = epoch;
    this.#offset = offset;
  }

  #subscribed(told) {
    const { epoch, offset, replay, present } = told;
    if (present) this.#present(present);
    // It was subscribed already: nothing is told again.
    if (this.live) return;
    this.live = true;
    // Of a topic without positions nobody knows what was missed.
    const gap = told.gap || (this.#again && !epoch);
    this.#again = true;
    // One that has yet to come would have what follows taken for heard.
    if (epoch === this.#epoch && offset < this.#offset) this.#offset = 0;
    // While something follows it is not heard yet: after a cut, it is asked for again.
    if (epoch && !replay) this.#stand(epoch, offset);
    this.tell("subscribed", told);
    if (gap) this.tell("gap", told);
  }
}

class Client extends Emitter {
  state = "closed"; hello;
  #url; #options; #socket; #timer; #tick; #attempt = 0; #turn = 0; #startedAt; #heardAt; #pingedAt;
  #rooms = new Map();           // by topic; the route's own is at ""
  #ownTopic = ""; #ownPath;
  #patience; #queue = []; #unanswered = new Map(); #id = 0;
  // A page that is left may be kept, frozen and connected.
  #listeners = {
    online: () => { if (this.state === "waiting") this.#connect(); },
    pagehide: () => { if (this.#socket) this.#fail("the page was left"); },
  };

  constructor(url, options) {
    super();
    this.#url = url;
    this.#options = { ...DEFAULTS, ...options };
    this.#patience = this.#options.timeout;
    if (!this.#options.WebSocket) throw new TypeError("no WebSocket here: give one as an option");
    this.#tick = setInterval(() => this.#watch(), 1000);
    this.#listen("add");
    // Rooms may be entered first.
    queueMicrotask(() => { if (this.#tick) this.#connect(); });
  }

  #listen(how) {
    for (const one of Object.entries(this.#listeners)) globalThis[`${how}EventListener`]?.(...one);
  }

  get rooms() {
    return [...this.#rooms.values()];
  }

  room(topic = "", options) {
    const own = this.#rooms.get("");
    if (topic && own?.topic === topic) return own;
    return this.#rooms.get(topic) ?? this.#enter(topic, options);
  }

  #enter(key, options) {
    const room = new Room(this, key || this.#ownTopic, options);
    this.#rooms.set(key, room);
    if (room.topic) this.#subscribe(room);
    return room;
  }

  publish(content, { key, idempotencyKey: idempotency_key = drawKey() } = {}, room) {
    return this.ask({ type: "publish", ...encode(content), key, idempotency_key }, room);
  }

  ask(command, room) {
    const { queue } = this.#options;
    return new Promise((resolve, reject) => {
      if (!this.#tick) throw new TidegateError("closed", "the client is closed");
      if (this.#queue.filter(theirs).length >= queue) {
        throw new TidegateError("queue_full", `${queue} commands wait to be sent already`);
      }
      this.#queue.push({ command, room, resolve, reject, askedAt: Date.now(), after: 0, tries: 0 });
      this.#flush();
    });
  }

  left(room, error) {
    const key = room === this.#rooms.get("") ? "" : room.topic;
    if (this.#rooms.get(key) !== room) return;
    this.#rooms.delete(key);
    if (room.live) this.#say({ type: "unsubscribe", topic: room.topic });
    room.live = false;
    room.tell("unsubscribed", { type: "unsubscribed", topic: room.topic, error });
  }

  close() {
    this.#close({ why: "closed by the application" });
  }

  // The client's own commands go first, and are not kept over a cut.
  #say(command, room) {
    if (!this.hello) return;
    const reject = (error) => room && this.#refused(room, error);
    const at = this.#queue.findLastIndex(({ own }) => own) + 1;
    this.#queue.splice(at, 0, { command, own: true, resolve() {}, reject, after: 0, tries: 0 });
    this.#flush();
  }

  #subscribe(room) {
    const { topic, resume, live } = room;
    const past = live ? {} : room.past;
    room.awaits = Boolean(past.since ?? past.last);
    this.#say({ type: "subscribe", topic, resume, ...past }, room);
  }

  #refused(room, error) {
    if (room.live) return;
    error.topic = room.topic;
    room.tell("error", error);
    if (LATER.has(error.code)) room.tryAt = Date.now() + this.#options.delayMax;
    else this.left(room, error);
  }

  #flush() {
    const { commands = 0, max_message: most } = this.hello ?? {};
    const ready = ({ after, room, command: { type } }) =>
      after <= Date.now() && (!room || room.topic || type === "publish");
    while (this.#unanswered.size < commands) {
      const at = this.#queue.findIndex(ready);
      if (at < 0) return;
      const [asked] = this.#queue.splice(at, 1);
      const id = asked.id = this.#id = (this.#id + 1) >>> 0;
      const text = JSON.stringify({ topic: asked.room?.topic || undefined, ...asked.command, id });
      asked.size = new TextEncoder().encode(text).length;
      if (asked.size > most) {
        asked.reject(new TidegateError("too_large", `${asked.size} bytes, of ${most} at most`));
        continue;
      }
      this.#unanswered.set(id, asked);
      this.#socket.send(text);
    }
  }

  #set(state, more) {
    this.state = state;
    this.emit("state", { state, ...more });
  }

  async #connect() {
    clearTimeout(this.#timer);
    const turn = ++this.#turn;
    this.#startedAt = Date.now();
    this.#set("connecting", { attempt: this.#attempt });
    try {
      const url = new URL(await given(this.#url), globalThis.location?.href);
      const token = await given(this.#options.token);
      if (turn !== this.#turn) return;
      url.protocol = url.protocol.replace("http", "ws");
      if (this.#ownPath !== url.pathname) this.#ownPath = undefined;
      this.#addPast(url);
      this.#open(url, token ? [PROTOCOL, "bearer", token] : PROTOCOL);
    } catch (error) {
      if (turn === this.#turn) this.#ended({ why: `no URL to connect to: ${error.message}` });
    }
  }

  #addPast(url) {
    const own = this.#rooms.get("");
    if (!own || (own.topic && !this.#ownPath)) return;
    for (const [name, value] of Object.entries(own.past)) {
      ["since", "last"].forEach((had) => url.searchParams.delete(had));
      url.search += `${url.search ? "&" : "?"}${name}=${value}`;
    }
  }

  #open(url, protocols) {
    const socket = this.#socket = new this.#options.WebSocket(url.href, protocols);
    const current = (act) => (told) => { if (socket === this.#socket) act(told); };
    // Node's own tells nothing else of a failed attempt.
    socket.onerror = current(() => { if (!this.hello) this.#ended({ code: 1006 }); });
    socket.onmessage = current(({ data }) => {
      this.#heardAt = Date.now();
      this.#pingedAt = 0;
      let told;
      try {
        told = JSON.parse(data);
      } catch {
        return this.#fail("what came is no event");
      }
      this.#hear(told, url.pathname);
    });
    socket.onclose = current(({ code, reason }) => this.#ended({ code, reason }));
  }

  #hear(told, path) {
    const { type, id, topic } = told;
    const asked = this.#unanswered.get(id);
    this.#unanswered.delete(id);
    if (type === "hello") this.#hello(told);
    else if (type === "push") this.emit("push", withData(told));
    else if (type === "error") this.#error(told, asked);
    else if (type === "unsubscribed") this.#unsubscribed(told);
    else if (topic && !["published", "members", "history"].includes(type)) {
      if (type === "subscribed" && id === undefined) this.#subscribedTo(told, path);
      const rooms = this.rooms.filter((room) => room.topic === topic);
      for (const room of rooms) room.hear({ ...told });
      // It was left while this was on its way, or its route subscribes to it whenever it opens.
      if (type === "subscribed" && !rooms[0]) this.#say({ type: "unsubscribe", topic });
    }
    if (type !== "error") asked?.resolve(told);
    this.#flush();
  }

  #hello(told) {
    this.hello = told;
    this.#patience = Math.min(this.#options.timeout, told.idempotency_age * 800 || Infinity);
    this.#startedAt = this.#heardAt;
    this.#set("open", { hello: told });
    for (const [key, room] of this.#rooms) {
      if (key || (room.topic && !this.#ownPath)) this.#subscribe(room);
    }
  }

  // The route's own topic comes first, and without a token; others were made behind the gateway.
  #subscribedTo({ topic, resume }, path) {
    const own = this.#rooms.get("");
    if (!resume && (!this.#ownTopic || this.#ownTopic === topic)) {
      const first = !this.#ownTopic;
      this.#ownTopic = topic;
      this.#ownPath = path;
      if (own) own.topic = topic;
      else if (first && !this.#rooms.has(topic)) this.#met("", topic);
    } else if (!this.rooms.some((room) => room.topic === topic)) this.#met(topic, topic);
  }

  // A room that the application has not entered.
  #met(key, topic) {
    const room = new Room(this, topic);
    this.#rooms.set(key, room);
    this.emit("room", room);
  }

  #unsubscribed(told) {
    for (const [key, room] of this.#rooms) {
      if (room.topic !== told.topic) continue;
      room.live = false;
      // With an id it answers `leave`: who has entered anew since then will be subscribed.
      if (told.id !== undefined) continue;
      if (key) this.#rooms.delete(key);
      room.tell("unsubscribed", told);
    }
  }

  #error({ code, message, id }, asked) {
    const error = new TidegateError(code, message);
    if (!asked) {
      if (id === undefined) this.emit("error", error);
    } else if (AGAIN.has(code)) {
      asked.after = Date.now() + backoff(this.#options, asked.tries++);
      this.#queue.unshift(asked);
    } else asked.reject(error);
  }

  #fail(why) {
    this.#socket?.close();
    this.#ended({ why });
  }

  #ended({ code, reason = "", why }) {
    const opened = Boolean(this.hello);
    const lasted = Date.now() - this.#startedAt;
    this.#socket = this.hello = undefined;
    this.#turn += 1;
    this.#requeue(code === 1009);
    for (const room of this.rooms) room.live = room.awaits = false;
    why ??= !opened ? "it did not open: nobody answers, or the request was refused"
      : code === 1006 ? "the connection was lost" : `closed with ${code} ${reason}`.trim();
    const word = reason.split(/[:\s]/)[0];
    const end = { code, reason, word, opened, why };
    end.comeBack = !FINAL.has(code) || word === "too_late";
    if (!(this.#options.comeBack?.(end) ?? end.comeBack)) return this.#close(end);
    if (opened && lasted > STEADY_MS) this.#attempt = 0;
    const wait = backoff(this.#options, this.#attempt++);
    this.#timer = setTimeout(() => this.#connect(), wait);
    this.#set("waiting", { ...end, wait, attempt: this.#attempt });
  }

  // In front again, in order. Of those on their way, the largest was too large.
  #requeue(tooLarge) {
    const open = [...this.#unanswered.values()].filter(theirs);
    this.#unanswered.clear();
    const [largest] = tooLarge ? [...open].sort((a, b) => b.size - a.size) : [];
    largest?.reject(new TidegateError("too_large", "the connection has ended for it"));
    this.#queue = [...open.filter((one) => one !== largest), ...this.#queue.filter(theirs)]
      .sort((a, b) => a.askedAt - b.askedAt);
  }

  #close(end) {
    if (!this.#tick) return;
    clearInterval(this.#tick);
    clearTimeout(this.#timer);
    this.#tick = undefined;
    this.#listen("remove");
    const socket = this.#socket;
    this.#socket = this.hello = undefined;
    this.#turn += 1;
    socket?.close(1000, "done");
    this.#requeue();
    for (const { reject } of this.#queue.splice(0)) reject(new TidegateError("closed", end.why));
    for (const room of this.rooms) {
      room.live = false;
      room.emit("closed", end);
    }
    this.#set("closed", end);
  }

  #watch() {
    const now = Date.now();
    const timeout = this.#patience;
    const renew = this.hello?.resume_age * 400;
    for (const asked of [...this.#queue, ...this.#unanswered.values()].filter(theirs)) {
      if (now - asked.askedAt < timeout) continue;
      asked.own = true;         // on its way it still counts, but is not sent again
      asked.reject(new TidegateError("timeout", `no answer for ${timeout} ms`));
      this.#queue = this.#queue.filter((one) => one !== asked);
    }
    if (this.state === "connecting" && now - this.#startedAt > OPENING_MS) {
      this.#fail(`it did not open for ${OPENING_MS} ms`);
    } else if (this.hello) {
      if (this.#pingedAt && now - this.#pingedAt > PONG_MS) return this.#fail("nobody answers");
      if (!this.#pingedAt && now - this.#heardAt > QUIET_MS) {
        this.#pingedAt = now;
        this.#say({ type: "ping" });
      }
      for (const room of this.rooms) {
        const due = room.live ? room.resume && now - room.resumedAt > renew : room.tryAt < now;
        if (!due) continue;
        room.resumedAt = now;
        room.tryAt = undefined;
        this.#subscribe(room);
      }
      this.#flush();
    }
  }
}

export function connect(url, options) {
  return new Client(url, options);
}
