// Tuning: asks the service for weights, shows how the search goes, and what the weights do.

import * as api from "./api.js";
import { key } from "./key.js";
import { changeView, metricOf } from "./scores.js";
import { copies, errorView, saves, text } from "./view.js";

const $ = (id) => document.getElementById(id);
const ENOUGH = 10; // lists, for a part to be kept apart
const score = (value) => value.toFixed(2).replace("-", "−");

export class Tuning {
  #session = null;
  #scores;
  #use; // called with the features of a weight set
  #running = null; // an AbortController

  constructor(scores, use) {
    this.#scores = scores;
    this.#use = use;
    $("tune").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#run();
    });
    $("tune-stop").addEventListener("click", () => this.#running?.abort());
    for (const id of ["optimizer", "held-out"]) $(id).addEventListener("change", () => this.#fit());
    this.#fit();
  }

  show(session) {
    this.#running?.abort();
    this.#session = session;
    $("tune-result").replaceChildren();
    $("tune-progress").hidden = true;
    const count = session.lists.length;
    for (const option of $("held-out").options) option.disabled = Number(option.value) > 0 && count < ENOUGH;
    $("held-out").value = count >= ENOUGH ? "0.5" : "0";
    this.#fit();
  }

  /** How many of the last lists are kept apart. */
  get #heldOut() {
    return Math.floor((this.#session?.lists.length ?? 0) * Number($("held-out").value));
  }

  #fit() {
    $("restarts-field").hidden = $("optimizer").value !== "mert";
    $("name-field").hidden = !key(); // a service without keys lets no page write
    const count = this.#session?.lists.length ?? 0;
    const kept = this.#heldOut;
    $("held-out-hint").textContent = kept
      ? `The last ${kept} of ${count} lists are kept apart, and say what the weights are worth.`
      : count < ENOUGH
        ? `With ${ENOUGH} lists or more some can be held out; there ${count === 1 ? "is" : "are"} ${count}.`
        : "Tuned on all lists: nothing will say what the weights do on others.";
  }

  async #run() {
    if (this.#running || !this.#session) return;
    const running = (this.#running = new AbortController());
    const session = this.#session;
    $("tune-error").hidden = true;
    $("tune-result").replaceChildren();
    try {
      const references = this.#scores.references;
      if (!references) throw new Error("There are no references to tune on.");
      const lists = session.lists.map((list, k) => ({ ...list, references: references[k] }));
      const name = key() ? $("tune-name").value.trim() : "";
      const question = {
        models: session.asked.models,
        ...metricOf(),
        optimizer: $("optimizer").value,
        restarts: whole("restarts"),
        seed: whole("seed"),
        held_out: this.#heldOut,
        ...(name && { name }),
        lists,
      };
      this.#busy(true);
      const bests = [];
      for await (const told of api.tune(question, running.signal)) {
        if (told.progress) this.#progress(told.progress, bests);
        else if (told.done) this.#done(told, question);
        else throw new api.Problem(told.error);
      }
    } catch (error) {
      const words = error.name === "AbortError" ? { detail: "Stopped: nothing was changed." } : (error.document ?? { detail: error.message });
      $("tune-error").replaceChildren(errorView(words));
      $("tune-error").hidden = false;
      $("tune-said").textContent = "";
      $("tune-progress").hidden = true;
    } finally {
      this.#running = null;
      this.#busy(false);
    }
  }

  #busy(working) {
    const had = document.activeElement === $(working ? "tune-go" : "tune-stop");
    $("tune-go").hidden = working;
    $("tune-stop").hidden = !working;
    if (had) $(working ? "tune-stop" : "tune-go").focus(); // the button that went had the focus
    if (working) {
      $("tune-progress").hidden = false;
      $("tune-bar").removeAttribute("value");
      $("tune-said").textContent = "Sending the lists…";
      $("tune-curve").replaceChildren();
    }
  }

  #progress({ stage, done, of, best, score: now, before, oracle, model, seconds }, bests) {
    const waited = seconds ? ` (${Math.round(seconds)} s)` : "";
    const words = {
      scoring: () => `Scoring with ${model}…`,
      waiting: () => "Waiting: another tuning runs…",
      counting: () => "Counting against the references…",
      counted: () => `The lists as they stand ${score(before)}; no choice from them passes ${score(oracle)}.`,
      choosing: () => `Comparing ways to tune on folds: ${done} of ${of}`,
      tuning: () => `${$("optimizer").value === "mira" ? "Epoch" : "Descent"} ${done} of ${of}: best ${score(best)}${now === undefined ? "" : `, this one ${score(now)}`}`,
    };
    $("tune-said").textContent = (words[stage] ?? (() => stage))() + waited;
    if (of) Object.assign($("tune-bar"), { max: of, value: done });
    if (stage === "tuning") {
      bests.push(best);
      if (new Set(bests).size > 1) $("tune-curve").replaceChildren(curveView(bests, of));
    }
  }

  #done(told, question) {
    $("tune-progress").hidden = true;
    $("tune-result").replaceChildren(
      resultView(told, {
        onUse: () => this.#use(told.weights.features),
        command: commandOf(question),
      }),
    );
    $("tune-result").querySelector("h3").focus();
  }
}

/** A whole number from a field, within the field's bounds; raises Error in the field's words. */
function whole(id) {
  const field = $(id);
  if (field.validity.valid && Number.isInteger(field.valueAsNumber)) return field.valueAsNumber;
  field.focus();
  throw new Error(`${field.labels[0].textContent.trim()}: a whole number from ${field.min} to ${field.max}.`);
}

/** What the command line would be given for the same weights. */
function commandOf({ models, metric, tokenize, optimizer, restarts, seed, held_out: heldOut }) {
  const parts = ["nbest tune lists.jsonl", `--metric ${metric}`];
  if (tokenize && tokenize !== "none") parts.push(`--tokenize ${tokenize}`);
  parts.push(...models.map((name) => `--lm ${name}`));
  if (optimizer !== "mert") parts.push(`--optimizer ${optimizer}`);
  else if (restarts !== 20) parts.push(`--restarts ${restarts}`);
  if (seed !== 1) parts.push(`--seed ${seed}`);
  parts.push("--out weights.json");
  return `${parts.join(" ")}${heldOut ? `   # lists.jsonl without the last ${heldOut} lists` : ""}`;
}

function resultView(told, { onUse, command }) {
  const box = text("div", "tuned", "");
  const title = text("h3", "", "What was found");
  title.tabIndex = -1;
  box.append(title);
  const rows = [[`${told.lists} lists tuned on`, told.before, told.after, "flatters: these weights were chosen for these lists"]];
  if (told.held_out) {
    const { lists, before, after, interval, p_value: p } = told.held_out;
    const words = `change ${score(interval[0])} to ${score(interval[1])} (95 %), p ${p < 0.001 ? "< 0.001" : `= ${p.toFixed(3)}`}`;
    rows.unshift([`${lists} lists held out`, before, after, words]);
  }
  const table = text("table", "scores-table", "");
  table.createCaption().textContent = `${told.metric.toUpperCase()} of the 1-bests, ${told.larger_is_better ? "larger" : "smaller"} is better; ${told.oracle_exact ? "the oracle of the lists tuned on is" : "an oracle of the lists tuned on is at least"} ${score(told.oracle)}`;
  const head = table.createTHead().insertRow();
  head.append(text("td", "", ""), ...["before", "tuned", "change"].map((name) => Object.assign(text("th", "", name), { scope: "col" })));
  const body = table.createTBody();
  for (const [name, before, after, words] of rows) {
    const row = body.insertRow();
    const title = Object.assign(text("th", "", name), { scope: "row" });
    title.append(text("small", "", words));
    row.append(title, text("td", "", score(before)), text("td", "figure", score(after)));
    row.insertCell().append(changeView(before, after, told.larger_is_better));
  }
  const scroller = text("div", "wide", "");
  scroller.append(table);
  box.append(scroller);
  if (told.warnings.length) {
    const warnings = text("div", "warnings", "");
    warnings.append(...told.warnings.map((one) => text("p", "", one)));
    box.append(warnings);
  }
  if (told.candidates) box.append(text("p", "hint", `Held-out folds: ${Object.entries(told.candidates).map(([name, one]) => `${name} ${score(one)}`).join("; ")}`));
  if (told.saved) {
    const { name, version, error } = told.saved;
    box.append(error ? errorView({ ...error, detail: `Not saved: ${error.detail}` }) : text("p", "", `Saved as ${name}, version ${version}.`));
  }
  const buttons = text("div", "buttons", "");
  const use = Object.assign(text("button", "primary", "Use these weights"), { type: "button" });
  use.addEventListener("click", onUse);
  const download = Object.assign(text("button", "small", "Download the weight set"), { type: "button" });
  download.addEventListener("click", () => saves("weights.json", `${JSON.stringify(told.weights, null, 1)}\n`, "application/json"));
  const copy = Object.assign(text("button", "small", "Copy the command"), { type: "button" });
  const line = text("code", "command", command);
  copies(copy, () => command, line);
  buttons.append(use, download, copy);
  box.append(buttons, line);
  return box;
}

/** How the best score came down, or up: a picture of what the words beside it say. */
function curveView(bests, of) {
  const drawing = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const [low, high] = [Math.min(...bests), Math.max(...bests)];
  const height = (value) => (high > low ? 36 - (32 * (value - low)) / (high - low) : 20);
  const points = bests.map((value, k) => `${(200 * (k + 1)) / of},${height(value).toFixed(1)}`);
  drawing.setAttribute("viewBox", "0 0 200 40");
  drawing.setAttribute("preserveAspectRatio", "none");
  drawing.setAttribute("aria-hidden", "true");
  const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
  line.setAttribute("points", points.join(" "));
  drawing.append(line);
  return drawing;
}
