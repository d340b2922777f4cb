// The decision card: one prediction in any web page, and what a person does with it.
//
//   <script src="https://HOST/v1/churn/card.js" data-key="7590-VHVEG" data-token="mct_..." defer></script>
//
// Shows itself where the script stands, or in the element that data-target selects. No framework, nothing from
// elsewhere; styles are constructed, texts are set as texts, so a strict Content-Security-Policy lets it run.
(() => {
  "use strict";

  const NAME = "mainstay-card";
  const STYLE = `
    :host {
      --_surface: var(--mainstay-card-surface, #ffffff);
      --_text: var(--mainstay-card-text, #1c2024);
      --_soft: var(--mainstay-card-soft, #59626d);
      --_line: var(--mainstay-card-line, #d3d8de);
      --_edge: var(--mainstay-card-edge, #7b8591);
      --_accent: var(--mainstay-card-accent, #0b5cad);
      --_on-accent: var(--mainstay-card-on-accent, #ffffff);
      --_warn: var(--mainstay-card-warn, #6b4a00);
      --_warn-surface: var(--mainstay-card-warn-surface, #fff4d6);
      --_bad: var(--mainstay-card-bad, #8a1c12);
      --_bad-surface: var(--mainstay-card-bad-surface, #fdecea);
      --_good: var(--mainstay-card-good, #17602f);
      --_good-surface: var(--mainstay-card-good-surface, #e6f4ea);
      display: block;
      max-width: var(--mainstay-card-width, 24rem);
      margin: var(--mainstay-card-margin, 0);
      font: var(--mainstay-card-font, 400 0.9375rem/1.45 system-ui, -apple-system, "Segoe UI", sans-serif);
      color: var(--_text);
    }
    @supports (color: light-dark(#000, #fff)) {
      :host {
        --_surface: var(--mainstay-card-surface, light-dark(#ffffff, #1b1f24));
        --_text: var(--mainstay-card-text, light-dark(#1c2024, #e9ebee));
        --_soft: var(--mainstay-card-soft, light-dark(#59626d, #a6afba));
        --_line: var(--mainstay-card-line, light-dark(#d3d8de, #39414b));
        --_edge: var(--mainstay-card-edge, light-dark(#7b8591, #788492));
        --_accent: var(--mainstay-card-accent, light-dark(#0b5cad, #84bdf8));
        --_on-accent: var(--mainstay-card-on-accent, light-dark(#ffffff, #0b1a29));
        --_warn: var(--mainstay-card-warn, light-dark(#6b4a00, #f3d48a));
        --_warn-surface: var(--mainstay-card-warn-surface, light-dark(#fff4d6, #3a2f12));
        --_bad: var(--mainstay-card-bad, light-dark(#8a1c12, #f7b9b3));
        --_bad-surface: var(--mainstay-card-bad-surface, light-dark(#fdecea, #43201d));
        --_good: var(--mainstay-card-good, light-dark(#17602f, #92d8a6));
        --_good-surface: var(--mainstay-card-good-surface, light-dark(#e6f4ea, #16331f));
      }
    }
    :host([theme="light"]) { color-scheme: light; }
    :host([theme="dark"]) { color-scheme: dark; }
    *, *::before { box-sizing: border-box; }
    [hidden] { display: none !important; }
    section {
      background: var(--_surface);
      border: 1px solid var(--_line);
      border-radius: var(--mainstay-card-radius, 0.625rem);
      padding: 1rem 1.125rem;
    }
    p, ul, dl, dd { margin: 0; }
    .label { color: var(--_soft); font-size: 0.875em; font-weight: 600; }
    .value { display: flex; flex-wrap: wrap; align-items: baseline; gap: 0 0.625rem; margin-top: 0.125rem; }
    .value strong { font-size: 2em; line-height: 1.2; font-weight: 650; font-variant-numeric: tabular-nums; }
    .value strong.long { font-size: 1.25em; }
    .words { color: var(--_soft); }
    .also { display: grid; grid-template-columns: auto 1fr; gap: 0.125rem 0.75rem; margin-top: 0.5rem; }
    .also dt { color: var(--_soft); }
    .also dd { font-variant-numeric: tabular-nums; }
    .reasons { margin-top: 0.625rem; }
    .reasons p { font-weight: 600; }
    .reasons ul { padding-inline-start: 1.125rem; }
    .note, .late, .error, .done {
      margin-top: 0.75rem; padding: 0.5rem 0.75rem; border-radius: 0.375rem; overflow-wrap: anywhere;
    }
    .note, .late { background: var(--_warn-surface); color: var(--_warn); }
    .error { background: var(--_bad-surface); color: var(--_bad); }
    .error strong { display: block; }
    .done { background: var(--_good-surface); color: var(--_good); }
    .age { color: var(--_soft); font-size: 0.875em; margin-top: 0.625rem; }
    .actions { display: flex; flex-wrap: wrap; gap: 0.5rem; margin-top: 0.875rem; }
    button {
      font: inherit; font-weight: 600; min-height: 2.25rem; padding: 0.25rem 0.875rem; cursor: pointer;
      border: 1px solid var(--_edge); border-radius: 0.375rem; background: transparent; color: var(--_text);
    }
    button.first { background: var(--_accent); border-color: var(--_accent); color: var(--_on-accent); }
    button.plain { border: 0; min-height: 1.5rem; padding: 0 0.25rem; text-decoration: underline; color: inherit; }
    button[aria-disabled="true"] { opacity: 0.6; cursor: progress; }
    button:focus-visible, textarea:focus-visible, .done:focus-visible {
      outline: 3px solid var(--_accent); outline-offset: 2px;
    }
    form { margin-top: 0.875rem; }
    label { display: block; font-weight: 600; margin-bottom: 0.25rem; }
    textarea {
      display: block; width: 100%; min-height: 4.5rem; resize: vertical; padding: 0.5rem 0.625rem; font: inherit;
      border: 1px solid var(--_edge); border-radius: 0.375rem; background: var(--_surface); color: var(--_text);
    }
    textarea[aria-invalid="true"] { border-color: var(--_bad); }
    .fault { color: var(--_bad); margin-top: 0.25rem; }
    .unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
    @media (forced-colors: active) { section, .note, .late, .error, .done { border: 1px solid; } }
  `;

  const make = (tag, properties, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };

  // As a sentence stands: with a capital, and with one stop at its end.
  const sentence = (text) => (text ? text.replace(/^./u, (c) => c.toUpperCase()).replace(/[\s.]*$/, ".") : "");

  const count = (number, word) => `${number} ${word}${number === 1 ? "" : "s"}`;

  const span = (seconds) => {
    if (seconds < 90) return count(Math.floor(seconds), "second");
    if (seconds < 90 * 60) return count(Math.floor(seconds / 60), "minute");
    if (seconds < 48 * 3600) return count(Math.floor(seconds / 3600), "hour");
    return count(Math.floor(seconds / 86400), "day");
  };

  const newId = () => Array.from(crypto.getRandomValues(new Uint8Array(8)), (b) => b.toString(16).padStart(2, "0")).join("");

  class Problem extends Error {
    constructor(title, detail, code) {
      super(detail);
      this.title = title;
      this.code = code;
    }
  }

  class MainstayCard extends HTMLElement {
    static observedAttributes = ["token"];

    #root = this.attachShadow({ mode: "open" });
    #reading = null;
    #readAt = 0;
    #timer = 0;
    #asked = 0;
    #busy = false;
    #decisionId = "";
    #parts = {};

    constructor() {
      super();
      const sheet = new CSSStyleSheet();
      sheet.replaceSync(STYLE);
      this.#root.adoptedStyleSheets = [sheet];
      this.#build();
    }

    connectedCallback() {
      this.#timer = setInterval(() => this.#tick(), 1000);
      this.ask();
    }

    disconnectedCallback() {
      clearInterval(this.#timer);
    }

    attributeChangedCallback(_name, before, after) {
      if (this.isConnected && before !== after) this.ask();
    }

    /** Asks for the prediction, again where there is one. */
    async ask() {
      const turn = ++this.#asked;
      const parts = this.#parts;
      this.#reading = null;
      this.#readAt = performance.now();
      parts.section.setAttribute("aria-busy", "true");
      parts.label.textContent = "Asking for a prediction …";
      for (const each of ["answer", "error", "late", "actions", "form", "done", "retry"]) parts[each].hidden = true;
      try {
        const reading = await this.#send("card", {});
        if (turn !== this.#asked) return;
        const wanted = this.getAttribute("key");
        if (wanted !== null && wanted !== String(reading.key)) {
          throw new Problem("This card is for somebody else", "The page shows another key than its token is for.", "key");
        }
        this.#show(reading);
      } catch (error) {
        if (turn === this.#asked) this.#fail(error);
      } finally {
        if (turn === this.#asked) parts.section.setAttribute("aria-busy", "false");
      }
    }

    #build() {
      const parts = this.#parts;
      const button = (text, act, className = "") => {
        const made = make("button", { type: "button", textContent: text, className });
        made.addEventListener("click", act);
        return made;
      };
      parts.label = make("p", { className: "label", id: "label" });
      parts.value = make("strong");
      parts.words = make("span", { className: "words" });
      parts.also = make("dl", { className: "also" });
      parts.reasonList = make("ul", {});
      parts.reasons = make("div", { className: "reasons" }, make("p", { textContent: "Why" }), parts.reasonList);
      parts.note = make("p", { className: "note" });
      parts.age = make("p", { className: "age" });
      parts.late = make("p", { className: "late", hidden: true });
      parts.answer = make(
        "div", { hidden: true },
        make("p", { className: "value" }, parts.value, parts.words),
        parts.also, parts.reasons, parts.note, parts.age, parts.late,
      );
      parts.error = make("p", { className: "error", hidden: true });
      parts.error.setAttribute("role", "alert");
      parts.accept = button("Accept", () => this.#decide("accepted", ""), "first");
      parts.override = button("Override …", () => this.#open());
      parts.actions = make("div", { className: "actions", hidden: true }, parts.accept, parts.override);
      parts.reason = make("textarea", { id: "reason", rows: 3, maxLength: 2000, required: true });
      parts.reason.setAttribute("aria-describedby", "fault");
      parts.fault = make("p", { className: "fault", id: "fault" });
      parts.save = make("button", { type: "submit", textContent: "Save", className: "first" });
      parts.form = make(
        "form", { id: "why", hidden: true, noValidate: true },
        make("label", { htmlFor: "reason", textContent: "Why do you decide otherwise?" }),
        parts.reason, parts.fault,
        make("div", { className: "actions" }, parts.save, button("Cancel", () => this.#close())),
      );
      parts.form.addEventListener("submit", (event) => {
        event.preventDefault();
        this.#override();
      });
      parts.form.addEventListener("keydown", (event) => {
        if (event.key === "Escape") this.#close();
      });
      parts.doneText = make("span");
      parts.done = make(
        "p", { className: "done", hidden: true, tabIndex: -1 }, parts.doneText, " ", button("Change", () => this.#reopen(), "plain"),
      );
      parts.retry = make("div", { className: "actions", hidden: true }, button("Ask again", () => this.ask()));
      parts.live = make("p", { className: "unseen" });
      parts.live.setAttribute("role", "status");
      parts.section = make(
        "section", {}, parts.label, parts.answer, parts.error, parts.actions, parts.form, parts.done, parts.retry, parts.live,
      );
      parts.section.setAttribute("aria-labelledby", "label");
      this.#root.append(parts.section);
    }

    #show(reading) {
      const parts = this.#parts;
      this.#reading = reading;
      this.#decisionId = newId();
      parts.label.textContent = reading.label;
      parts.value.textContent = reading.value;
      parts.value.classList.toggle("long", reading.value.length > 12);
      parts.words.textContent = reading.words;
      parts.also.replaceChildren(
        ...reading.also.flatMap((line) => [
          make("dt", { textContent: line.label }), make("dd", { textContent: line.value }),
        ]),
      );
      parts.also.hidden = reading.also.length === 0;
      parts.reasonList.replaceChildren(...reading.reasons.map((text) => make("li", { textContent: text })));
      parts.reasons.hidden = reading.reasons.length === 0;
      parts.note.textContent = sentence(reading.note);
      parts.note.hidden = !reading.note;
      parts.answer.hidden = false;
      parts.actions.hidden = !reading.receipt;
      this.#tick();
      this.#say(`${reading.label}: ${reading.value}${reading.words ? `, ${reading.words}` : ""}. ${sentence(reading.note)}`.trim());
      this.#tell("answered", { receipt: reading.receipt });
    }

    #fail(error) {
      const parts = this.#parts;
      const known = error instanceof Problem;
      const title = known ? error.title : "The card cannot be reached";
      const detail = known ? error.message : "Check the connection, or ask whoever runs this page.";
      parts.label.textContent = "No prediction";
      parts.error.replaceChildren(make("strong", { textContent: title }), detail);
      parts.error.hidden = false;
      const final = known && ["card_token", "card_expired", "card_origin", "key", "on_deleted"].includes(error.code);
      parts.retry.hidden = final;
      this.#tell(known && error.code === "card_expired" ? "expired" : "failed", { code: known ? error.code : "network" });
    }

    #tick() {
      const reading = this.#reading;
      if (!reading) return;
      const parts = this.#parts;
      if (reading.age_seconds === null) {
        parts.age.textContent = "The age of the data is not known.";
        return;
      }
      const age = Math.max(0, reading.age_seconds) + (performance.now() - this.#readAt) / 1000;
      parts.age.textContent = `Data ${span(age)} old`;
      const late = reading.promise_seconds !== null && age > reading.promise_seconds;
      if (late && parts.late.hidden) {
        parts.late.textContent = `This is older than the ${span(reading.promise_seconds)} that were promised.`;
        this.#say(parts.late.textContent);
      }
      parts.late.hidden = !late;
      parts.retry.hidden = !late;
    }

    #open() {
      const parts = this.#parts;
      if (this.#busy) return;
      parts.form.hidden = false;
      parts.actions.hidden = true;
      parts.reason.focus();
    }

    #close() {
      const parts = this.#parts;
      parts.form.hidden = true;
      parts.actions.hidden = false;
      this.#fault("");
      parts.override.focus();
    }

    #reopen() {
      const parts = this.#parts;
      this.#decisionId = newId();
      parts.done.hidden = true;
      parts.actions.hidden = false;
      parts.accept.focus();
    }

    #override() {
      const reason = this.#parts.reason.value.trim();
      if (!reason) {
        this.#fault("Say why, in a few words.");
        this.#parts.reason.focus();
        return;
      }
      this.#decide("overridden", reason);
    }

    async #decide(decision, reason) {
      const parts = this.#parts;
      const reading = this.#reading;
      if (this.#busy || !reading) return;
      this.#setBusy(true);
      parts.error.hidden = true;
      try {
        await this.#send("card/decisions", { receipt: reading.receipt, decision, reason, id: this.#decisionId });
      } catch (error) {
        const known = error instanceof Problem;
        const detail = known ? error.message : "Nothing was saved. Try again in a moment.";
        parts.error.replaceChildren(make("strong", { textContent: "The decision was not saved" }), detail);
        parts.error.hidden = false;
        if (known && error.code === "card_expired") this.#tell("expired", { code: error.code });
        return;
      } finally {
        this.#setBusy(false);
      }
      if (reading !== this.#reading) return;
      parts.form.hidden = true;
      parts.actions.hidden = true;
      this.#fault("");
      const word = decision === "accepted" ? "Accepted" : "Overridden";
      parts.doneText.textContent = sentence(`${word} by ${reading.user}${reason ? `: ${reason}` : ""}`);
      parts.done.hidden = false;
      parts.done.focus();
      this.#tell("decided", { receipt: reading.receipt, decision });
    }

    #setBusy(busy) {
      this.#busy = busy;
      for (const each of ["accept", "override", "save"]) this.#parts[each].setAttribute("aria-disabled", String(busy));
    }

    #fault(text) {
      this.#parts.fault.textContent = text;
      this.#parts.reason.setAttribute("aria-invalid", String(text !== ""));
    }

    #say(text) {
      this.#parts.live.textContent = text;
    }

    #tell(what, detail) {
      this.dispatchEvent(new CustomEvent(`${NAME}-${what}`, { bubbles: true, composed: true, detail }));
    }

    async #send(path, body) {
      const response = await fetch(new URL(path, this.getAttribute("base")), {
        method: "POST",
        mode: "cors",
        credentials: "omit",
        headers: { authorization: `Bearer ${this.getAttribute("token") || ""}`, "content-type": "application/json" },
        body: JSON.stringify(body),
        signal: AbortSignal.timeout(15000),
      });
      let said;
      try {
        said = await response.json();
      } catch {
        throw new Problem("No answer", `The address answered with ${response.status}, and not as a card's does.`, "shape");
      }
      if (response.ok) return said;
      const code = String(said.type || "").split("#")[1] || "";
      throw new Problem(said.title || "No answer", sentence(`${said.detail || ""}`), code);
    }
  }

  if (!customElements.get(NAME)) customElements.define(NAME, MainstayCard);

  const script = document.currentScript;
  if (!script || !script.dataset.token) return;
  const card = document.createElement(NAME);
  card.setAttribute("base", script.src);
  card.setAttribute("token", script.dataset.token);
  if (script.dataset.key !== undefined) card.setAttribute("key", script.dataset.key);
  if (script.dataset.theme) card.setAttribute("theme", script.dataset.theme);
  const target = script.dataset.target ? document.querySelector(script.dataset.target) : null;
  if (target) target.append(card);
  else if (script.closest("head")) document.body.append(card);
  else script.after(card);
})();
