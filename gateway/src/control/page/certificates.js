// What is known of TLS: certificates with the days that they have left, and how handshakes ended.

import { card, listOf, make, setText, Table } from "./dom.js";
import { isNumber, NOTHING, short, whole } from "./format.js";

// A certificate that has fewer days left is a warning, as it is in the log of a start.
const FEW_DAYS = 14;

const texts = (value) => (Array.isArray(value) ? value.map(String) : []);

const days = (left) => (!isNumber(left) ? NOTHING : left < 0 ? "expired"
  : left === 1 ? "1 day" : `${whole(left)} days`);

const CERTIFICATES = [
  { title: "Certificate", kind: "name", update: (cell, { names, file, doubts }) => {
    const [first, ...rest] = texts(names);
    setText(cell, `${first ?? "no name"}${rest.length ? ` and ${rest.length} more` : ""}`);
    cell.title = [String(file), ...texts(doubts)].join("\n");
  } },
  { title: "Expires in", kind: "number", update: (cell, { days_left: left, not_after: at }) => {
    setText(cell, days(left));
    cell.title = typeof at === "string" ? at : "";
    cell.dataset.level = isNumber(left) && left < FEW_DAYS ? "full" : "";
  } },
];

const FAILURES = [
  { title: "Why handshakes failed", kind: "name", text: ({ reason }) => reason },
  { title: "Since the start", kind: "number", text: ({ count }) => short(count) },
];

export class Tls {
  #certificates = new Table("Certificates", CERTIFICATES, { id: "certificates", isCompact: true });
  #failures = new Table("Failed handshakes", FAILURES, { id: "handshake-failures",
    isCompact: true });
  #none = make("p", { class: "empty", text: "No handshake has failed." });
  #handshakes = make("span", { class: "small", id: "handshakes" });

  constructor() {
    this.element = card("TLS", { id: "tls-card", note: this.#handshakes },
      make("div", { class: "beside" },
        make("div", {}, this.#certificates.element),
        make("div", {}, this.#failures.element, this.#none)));
    this.element.hidden = true;
  }

  show({ tls }) {
    this.element.hidden = !tls;
    if (!tls) return;
    this.#certificates.show(listOf(tls.certificates));
    const failed = Object.entries(tls.failed ?? {}).filter(([, count]) => isNumber(count));
    failed.sort(([, one], [, other]) => other - one);
    this.#failures.show(failed.map(([reason, count]) => ({ reason, count })));
    this.#none.hidden = failed.length > 0;
    const [all, resumed] = [tls.handshakes, tls.resumed].map((count) => short(count));
    setText(this.#handshakes,
      `${all} handshakes, ${resumed} of them resumed; ${whole(tls.in_progress)} in progress`);
  }
}
