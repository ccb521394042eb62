// Asks the gateway. The token is kept for this tab alone.

const ANSWER_MS_MAX = 10_000;
const TOKEN_KEY = "tidegate-admin-token";

let token = null;
let whenTokenIsWanted = () => {};

// The gateway has said that it did not do something, and why.
export class ApiError extends Error {
  constructor(status, { code, message, hint } = {}) {
    super(typeof message === "string" && message ? message : `it answered ${status}`);
    this.status = status;
    this.code = code;
    this.hint = typeof hint === "string" ? hint : "";
  }
}

// Nobody has answered.
class NoAnswer extends Error {}

// What went wrong, for people.
export function describe(error) {
  if (error instanceof ApiError) {
    const text = error.message.replace(/\.$/, "");
    const hint = error.hint ? ` – ${error.hint}` : "";
    return `${text.charAt(0).toUpperCase()}${text.slice(1)}${hint}.`;
  }
  if (error instanceof NoAnswer) return error.message;
  if (error instanceof SyntaxError) return "The answer is not JSON.";
  return `It failed: ${error.message}.`;
}

// Who is called when a token is needed; with whether one was refused.
export function onTokenWanted(listener) {
  whenTokenIsWanted = listener;
}

export function recallToken() {
  try {
    token = sessionStorage.getItem(TOKEN_KEY);
  } catch {
    token = null;
  }
}

export const hasToken = () => token !== null;

// A header takes visible ASCII; all else cannot be a bearer token (RFC 6750 section 2.1).
export const mayBeToken = (text) => /^[\x21-\x7e]+$/.test(text);

export function keepToken(value) {
  token = value;
  try {
    if (value === null) sessionStorage.removeItem(TOKEN_KEY);
    else sessionStorage.setItem(TOKEN_KEY, value);
  } catch {
    // Then it is kept until the page is left.
  }
}

// The path of a list or a search, with those of its parameters that are there.
export function withQuery(path, parameters) {
  const isThere = ([, value]) => value !== undefined && value !== null && value !== "";
  const given = Object.entries(parameters).filter(isThere);
  const query = new URLSearchParams(given.map(([name, value]) => [name, String(value)]));
  return given.length ? `${path}?${query}` : path;
}

// Asks for JSON, which has to be an object. `body` is sent as JSON; a text is JSON already. If it
// is to be `exact`, numbers that would be written in another way than they were read are kept as
// they were written.
export async function ask(path, { method = "GET", body, exact = false } = {}) {
  const answer = await send(path, method, body);
  const text = await answer.text();
  const value = exact ? JSON.parse(text, asWritten) : JSON.parse(text);
  if (value === null || typeof value !== "object") throw new SyntaxError("no object");
  return value;
}

export async function askText(path) {
  return (await send(path, "GET")).text();
}

// Where the browser can do that: in messages they are somebody's ids.
export function asWritten(_, value, context) {
  const isChanged = typeof value === "number" && context?.source !== undefined &&
    String(value) !== context.source;
  return isChanged && JSON.rawJSON ? JSON.rawJSON(context.source) : value;
}

async function send(path, method, body) {
  const sent = token;
  const headers = sent === null ? {} : { Authorization: `Bearer ${sent}` };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const answer = await fetch(path, {
    method, headers, body: typeof body === "string" ? body : JSON.stringify(body),
    cache: "no-store", signal: AbortSignal.timeout(ANSWER_MS_MAX),
  }).catch((error) => {
    throw new NoAnswer(error.name === "TimeoutError"
      ? `There was no answer in ${ANSWER_MS_MAX / 1000} s.` : "The connection failed.");
  });
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => ({}));
  // Another one may have been entered meanwhile.
  if (answer.status === 401 && sent === token) {
    keepToken(null);
    whenTokenIsWanted(sent !== null);
  }
  throw new ApiError(answer.status, told?.error);
}
