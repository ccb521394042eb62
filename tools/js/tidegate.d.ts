// The types of tidegate.js, and how it is used.
//
//     import { connect } from "./tidegate.js";
//
//     const client = connect("wss://example.org/rooms/lobby");
//     const room = client.room();              // the route's own topic; room("NAME") for others
//     room.on("message", ({ user, data }) => show(user, data));
//     room.on("gap", () => fetchEverythingAnew());
//     await room.publish("hello");             // its place among all messages, once it has one
//
// A client comes back by itself after a cut and is told what it missed of each room, or `gap`. Messages of a
// room come in order, and none twice. A handler that is set in the turn of the loop in which `connect` or
// `room` is called misses nothing.

export interface Options {
  /** What opens connections, where there is no global WebSocket (Node before 22): that of npm's `ws`. */
  WebSocket?: unknown;
  /** What lets it in where the route asks for a token (`admission`), or what gives that, which is called before
   * each attempt: a token may have expired. It is offered as a subprotocol. */
  token?: string | (() => string | Promise<string>);
  /** How many commands may wait to be sent, as while there is no connection; 100. */
  queue?: number;
  /** How long an answer may take, in milliseconds, cuts and all; 240000. Never longer than four fifths of
   * the gateway's `hub.idempotency_age`: what is sent again later than that may be published twice. */
  timeout?: number;
  /** The wait before an attempt is drawn from 0 to min(delayMax, delay × 2ⁿ) milliseconds; 500, 30000. */
  delay?: number;
  delayMax?: number;
  /** Whether to come back after this end. Without it, and if it says nothing, `end.comeBack` holds. */
  comeBack?(end: End): boolean | undefined;
}

export interface End {
  /** Of the Close frame; 1006 if there was none, missing if the client has given the connection up. */
  code?: number;
  reason: string;
  /** What the reason begins with, for programs: `drain`, `slow_peer`, or the application's own word. */
  word: string;
  /** Whether it was open. If not, it was refused or nobody answered; a page is not told which. */
  opened: boolean;
  /** All of that for people. */
  why: string;
  comeBack: boolean;
}

export type State =
  | { state: "connecting"; attempt: number }
  | { state: "open"; hello: Hello }
  | ({ state: "waiting"; wait: number; attempt: number } & End)
  | ({ state: "closed"; why: string } & Partial<End>);

export interface Hello {
  type: "hello";
  protocol: string;
  connection: string;
  user?: string;
  time: string;
  /** Whether what this client publishes is told to itself. */
  own: boolean;
  max_message: number;
  commands: number;
  /** In seconds: how long a token of a subscription is good that was made behind the gateway, and how long
   * the key of a message is kept, so that the same is not published twice. */
  resume_age: number;
  idempotency_age: number;
}

/** A text, bytes, or anything that JSON has (but a text or bytes). */
export type Content = string | ArrayBuffer | ArrayBufferView | object | number | boolean | null;

export interface Told {
  topic: string;
  epoch?: string;
  offset?: number;
}

export interface Said {
  /** A string, a Uint8Array, or what the JSON stood for. */
  data: any;
  text?: string;
  json?: any;
  binary?: string;
  time: string;
  /** Who has published it; neither is there if a system behind the gateway has. */
  user?: string;
  connection?: string;
}

export interface Message extends Told, Said { type: "message" }

export interface Kept extends Said { offset: number }

/** Past all topics, to this connection, its user, or all. */
export interface Push extends Said {
  type: "push";
  to: "connection" | "user" | "all";
}

export interface Member {
  user?: string;
  connection?: string;
}

export interface Subscribed extends Told {
  type: "subscribed";
  /** So many messages follow that were published before, and then `replayed`. */
  replay?: number;
  gap?: boolean;
  present?: { total: number; members?: Member[] };
}

/** `subscribed`, or `gap` in the middle of a replay: messages are lost to this client. */
export interface Gap extends Told { type: "subscribed" | "gap" }

export interface Unsubscribed {
  type: "unsubscribed";
  topic: string;
  /** The gateway's refusal, if it was one. */
  error?: TidegateError;
}

export interface RoomEvents {
  message: Message;
  gap: Gap;
  /** Where the subscription stands, after each (re)connection too. */
  subscribed: Subscribed;
  replayed: Told;
  join: Told & Member;
  leave: Told & Member;
  /** In place of these where very many are present. */
  presence: Told & { joined: number; left: number; total: number };
  /** The room is over for this object: left, refused, or ended behind the gateway. */
  unsubscribed: Unsubscribed;
  error: TidegateError & { topic?: string };
}

/** A client tells what its rooms tell, and: */
export interface ClientEvents extends RoomEvents {
  state: State;
  push: Push;
  /** Entered by the gateway: subscribed to behind it, or the route's own. */
  room: Room;
}

/** `code` is one of the protocol's, or `queue_full`, `timeout` (it may be published or not), `closed`,
 * `too_slow`. */
export class TidegateError extends Error {
  code: string;
}

export interface Publishing {
  /** Of messages with the same key, a slow peer whose route conflates is told the newest only. */
  key?: string;
  /** Drawn anew if it is not given: what is sent again after a cut is published once. */
  idempotencyKey?: string;
}

export interface Published extends Told {
  repeated?: boolean;
}

export interface Emitter<Events> {
  /** Returns what takes the handler off again. */
  on<Name extends keyof Events>(name: Name, handler: (event: Events[Name]) => void): () => void;
}

export interface Room extends Emitter<RoomEvents>, AsyncIterable<Message | Gap> {
  readonly client: Client;
  /** "" for the route's own, until the gateway has said it. */
  readonly topic: string;
  /** Whether it is subscribed now. */
  readonly live: boolean;
  /** "EPOCH:OFFSET" of what was heard last, to go on from in another page. */
  readonly position: string | undefined;
  /** Who is there. Missing where no presence is kept, or more are there than are told; `presence` asks. */
  readonly members: Member[] | undefined;
  readonly total: number | undefined;
  /** Resolves when the gateway has it. What is published without waiting goes out in order. */
  publish(content: Content, options?: Publishing): Promise<Published>;
  history(options?: { since?: string; last?: number; limit?: number }): Promise<
    Told & { gap?: boolean; messages: Kept[];
      /** There is more behind this offset: ask on with `since: ${epoch}:${next}`. */
      more?: boolean; next?: number }>;
  presence(limit?: number): Promise<
    { topic: string; total: number; members: (Member & { connections: number; since: string })[] }>;
  leave(): void;
}

export interface Client extends Emitter<ClientEvents> {
  readonly state: State["state"];
  /** While it is open. */
  readonly hello: Hello | undefined;
  readonly rooms: Room[];
  /** The route's own topic, or another that the route lets its clients subscribe to. `since` ("EPOCH:OFFSET")
   * or `last` (1 to 1000) ask for what was published before. */
  room(topic?: string, past?: { since?: string; last?: number }): Room;
  /** On the route's own topic. */
  publish(content: Content, options?: Publishing): Promise<Published>;
  /** For good. What was not answered is rejected with the code `closed`. */
  close(): void;
}

/** `url` may be a function, which is called before each attempt: for a token that does not last. */
export function connect(url: string | URL | (() => string | URL | Promise<string | URL>),
  options?: Options): Client;
