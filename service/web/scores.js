// Scores against references: of the decoder's firsts, of the service's ranking, and of the sliders as they stand.

import * as api from "./api.js";
import { referencesOf } from "./session.js";
import { errorView, text } from "./view.js";

const WAIT = 350; // milliseconds after the last move of a slider
const $ = (id) => document.getElementById(id);

export const metricOf = () => ({
  metric: $("metric").value,
  ...($("metric").value === "bleu" && { tokenize: $("tokenize").value }),
});

export class Scores {
  #session = null;
  #timer = 0;
  #asking = null; // an AbortController
  #known = new Map(); // answers by question: sliders come back to where they were

  constructor() {
    for (const id of ["metric", "tokenize"]) $(id).addEventListener("change", () => this.#changed());
    $("references").addEventListener("input", () => this.#changed());
    this.#changed();
  }

  /** The references of the session's lists, or null; raises Error where lines and lists do not fit. */
  get references() {
    return this.#session && referencesOf(this.#session.lists, $("references").value);
  }

  show(session) {
    this.#session = session;
    this.#known.clear();
    this.#changed(0);
  }

  /** The ranking is another now. */
  update() {
    this.#changed();
  }

  #changed(wait = WAIT) {
    $("tokenize-field").hidden = $("metric").value !== "bleu";
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#ask(), wait);
  }

  async #ask() {
    this.#asking?.abort();
    const asking = (this.#asking = new AbortController());
    const session = this.#session;
    const hint = (words) => {
      $("scores").replaceChildren(text("p", "hint", words));
      $("tune-go").disabled = true;
    };
    $("score-error").hidden = true;
    if (!session) return;
    try {
      const references = this.references;
      if (!references) return hint("Paste one reference a line, in the order of the lists: then the rankings are scored, and weights can be tuned.");
      const good = session.good;
      if (!good.length) return hint("No list could be ranked.");
      const sides = session.bests(good);
      const wanted = good.map((k) => references[k]);
      if (!session.changed) delete sides.now;
      $("scores").setAttribute("aria-busy", "true");
      const found = {};
      for (const [name, hypotheses] of Object.entries(sides)) {
        const question = { ...metricOf(), hypotheses, references: wanted };
        const key = JSON.stringify(question);
        if (!this.#known.has(key)) this.#known.set(key, await api.evaluate(question, asking.signal));
        found[name] = this.#known.get(key);
      }
      if (asking.signal.aborted) return;
      const left = session.results.length - good.length;
      $("scores").replaceChildren(tableView(found), text("p", "hint", `${good.length} ${good.length === 1 ? "list" : "lists"}${left ? `, ${left} with an error left out` : ""}; intervals: 95 %, bootstrap over lists.`));
      $("scores-signature").textContent = found.before.signature;
      $("tune-go").disabled = false;
    } catch (error) {
      if (error.name === "AbortError") return;
      hint("No score.");
      $("score-error").replaceChildren(errorView(error.document ?? { detail: error.message }));
      $("score-error").hidden = false;
    } finally {
      if (this.#asking === asking) $("scores").removeAttribute("aria-busy");
    }
  }
}

const NAMES = { before: "decoder's first", answer: "weights of the answer", now: "weights as moved" };
const bounds = ([low, high]) => `${low.toFixed(2)} – ${high.toFixed(2)}`;

/** Better, worse or the same as before, in words and a sign: never by colour alone. */
export function changeView(before, after, largerIsBetter) {
  const change = after - before;
  const same = Math.abs(change) < 0.005;
  const better = change > 0 === largerIsBetter;
  const view = text("span", same ? "change" : `change ${better ? "good" : "bad"}`, "");
  view.textContent = same ? "no change" : `${change > 0 ? "+" : "−"}${Math.abs(change).toFixed(2)} ${better ? "better" : "worse"}`;
  return view;
}

function tableView(found) {
  const table = text("table", "scores-table", "");
  const { metric, larger_is_better: up } = found.before;
  const caption = table.createCaption();
  caption.textContent = `${metric.toUpperCase()} in percent, ${up ? "larger" : "smaller"} is better`;
  const head = table.createTHead().insertRow();
  for (const title of ["1-bests of", "score, 95 % interval", "change"]) {
    const cell = text("th", "", title);
    cell.scope = "col";
    head.append(cell);
  }
  const body = table.createTBody();
  for (const [name, one] of Object.entries(found)) {
    const row = body.insertRow();
    const title = text("th", "", NAMES[name]);
    title.scope = "row";
    const figure = text("td", "figure", one.score.toFixed(2));
    figure.append(text("small", "", bounds(one.interval)));
    row.append(title, figure);
    const change = row.insertCell();
    if (name !== "before") change.append(changeView(found.before.score, one.score, up));
    else change.textContent = "–";
  }
  return table;
}
