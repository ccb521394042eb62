// Sends a message to a connection or a topic, and closes connections, each after a question.

import { ask, ApiError, withQuery } from "./api.js";
import { confirm, field } from "./dialog.js";
import { make, Notice } from "./dom.js";
import { count } from "./format.js";

const KINDS = [["text", "Text"], ["json", "JSON"], ["binary", "Binary, as base64"]];
const PREVIEW_MAX = 400;

// A form for a message to `target`, which the API understands and `whom` says to people. `reach`
// says how many it is for, as far as is known.
export function messageForm(target, whom, reach = () => "") {
  const kind = make("select", {}, KINDS.map(([value, text]) => make("option", { value, text })));
  const text = make("textarea", { rows: "3", spellcheck: "false", class: "mono" });
  const said = new Notice("status");
  const form = make("form", { class: "message-form" },
    field("Message", text), make("div", { class: "row end" },
      field("as", kind), make("button", { class: "main", text: "Send…" })), said.element);
  form.addEventListener("submit", async (submitted) => {
    submitted.preventDefault();
    said.say("");
    const about = { target };
    // Sent again after an answer that did not come, it is not published twice.
    if (target.topic !== undefined) about.idempotency_key = drawKey();
    let body;
    try {
      body = bodyOf(about, kind.value, text.value);
    } catch (error) {
      said.say(`This is not JSON: ${error.message}.`);
      return;
    }
    const answer = await confirm({
      title: `Send to ${whom}?`, text: reach(), content: preview(text.value), action: "Send",
      run: () => ask("v1/publish", { method: "POST", body }),
    });
    if (!answer) return;
    text.value = "";
    said.say(sent(answer), "done");
  });
  return form;
}

// A key for the message, drawn anew.
function drawKey() {
  const drawn = crypto.getRandomValues(new Uint32Array(4));
  return [...drawn].map((part) => part.toString(16).padStart(8, "0")).join("");
}

// The request's body. JSON goes into it as it was typed: written anew, a number may lose digits.
function bodyOf(about, kind, text) {
  if (kind !== "json") return { ...about, [kind]: text };
  // What can be read as one value cannot be more than that in the body.
  JSON.parse(text);
  return `${JSON.stringify(about).slice(0, -1)},"json":${text}}`;
}

function preview(text) {
  const cut = text.length > PREVIEW_MAX;
  return make("pre", { class: "message", text: cut ? `${text.slice(0, PREVIEW_MAX)}…` : text });
}

function sent(answer) {
  const to = answer.connections === 0
    ? "Sent, but nobody gets it now" : `Sent to ${count(answer.connections, "connection")}`;
  const { position } = answer;
  const place = position ? `, as message ${position.offset} of epoch ${position.epoch}` : "";
  return `${to}${place}${answer.repeated ? "; it had been published before" : ""}.`;
}

// Closes connections after a question; resolves to what was done, in words. Of many, `reach` says
// how many they are, as far as is known.
export async function disconnect(target, whom, reach = "") {
  const code = make("input", {
    type: "number", min: "1000", max: "4999", value: "1000", required: true, name: "code",
  });
  const reason = make("input", { type: "text", maxlength: "123", name: "reason" });
  const answer = await confirm({
    title: `Disconnect ${whom}?`,
    text: target.connection === undefined
      ? `${reach} The clients are told the code and the reason. They may come back at once.`.trim()
      : "The client is told the code and the reason. It may come back at once.",
    content: make("div", { class: "fields" },
      field("Close code", code, "1000 normal, 1008 policy, 1012 restart, 3000 to 4999 your own"),
      field("Reason", reason, "up to 123 bytes")),
    action: "Disconnect", isDanger: true,
    run: () => close(target, Number(code.value), reason.value),
  });
  return answer && `${count(answer.connections, "connection")} told to close.`;
}

// Has the log tell of each frame of a connection for a while; resolves to what was done, in words.
export async function trace(id) {
  const seconds = make("input", {
    type: "number", min: "1", max: "600", value: "60", required: true, name: "seconds",
  });
  const answer = await confirm({
    title: "Log its frames?",
    text: "The gateway’s log has a line for each frame of the connection, with its kind and " +
      "length and nothing of what is in it: 10,000 lines at most.",
    content: field("For how many seconds", seconds, "1 to 600"), action: "Log them",
    run: () => ask("v1/trace",
      { method: "POST", body: { connection: id, seconds: Number(seconds.value) } }),
  });
  return answer && `The log has a line for each of its frames for ${seconds.value} s.`;
}

async function close(target, code, reason) {
  if (!Number.isInteger(code)) throw new ApiError(400, { message: "the code is not a number" });
  if (target.connection === undefined) {
    return ask("v1/disconnect", { method: "POST", body: { target, code, reason } });
  }
  const path = `v1/connections/${encodeURIComponent(target.connection)}`;
  return ask(withQuery(path, { code, reason }), { method: "DELETE" });
}
