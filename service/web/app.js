// The page: what was typed goes to the service, what comes back is shown and ranked again as sliders move.

import * as api from "./api.js";
import { modelView } from "./models.js";
import { reach } from "./ranking.js";
import { Scores } from "./scores.js";
import { Session } from "./session.js";
import { Tuning } from "./tuning.js";
import { copies, errorView, hypothesisView, saves, sliderView, text, textView } from "./view.js";
import { heatView, legendView } from "./words.js";

const $ = (id) => document.getElementById(id);
const PART = 50; // hypotheses shown at first, and more at each press
const MANY = 12; // weights: then there is a field to find one

let session = null;
let at = 0; // the list on the screen
let showing = PART;
let chosen = null; // index of the hypothesis that is looked at word by word; null: the best
let asked = 0; // of the words that were asked for last
let known = []; // models
const speeds = new Map(); // of models, as seen
const scores = new Scores();
const tuning = new Tuning(scores, (features) => {
  session.take(features);
  drawSliders();
  drawRanking();
  $("verdict").scrollIntoView({ block: "center" });
});

async function start() {
  for (const button of document.querySelectorAll("[data-example]"))
    button.addEventListener("click", () => load("input", api.example(button.dataset.example)));
  for (const [file, field] of [["file", "input"], ["references-file", "references"]])
    $(file).addEventListener("change", () => {
      if ($(file).files.length) load(field, api.fileText($(file).files[0]));
      $(file).value = ""; // the same file may be opened again
    });
  for (const [zone, field] of [["form", "input"], ["references", "references"]])
    for (const kind of ["dragover", "dragleave", "drop"]) $(zone).addEventListener(kind, (event) => dragged(event, $(zone), field));
  $("form").addEventListener("submit", submit);
  $("list").addEventListener("change", () => show(Number($("list").value)));
  $("more").addEventListener("click", () => {
    showing += PART;
    drawRanking();
  });
  $("reset").addEventListener("click", () => {
    session.reset();
    drawSliders();
    drawRanking();
  });
  $("find").addEventListener("input", filterSliders);
  $("hypothesis").addEventListener("change", () => {
    chosen = $("hypothesis").value === "" ? null : Number($("hypothesis").value);
    drawWords();
  });
  $("legend").append(legendView());
  copies($("copy-signature"), () => session.signature, $("signature"));
  copies($("copy-best"), () => session.results.map((_, k) => `${session.ranking(k)[0]?.text ?? ""}\n`).join(""));
  $("download").addEventListener("click", download);
  await readModels(true);
}

async function readModels(first = false) {
  try {
    const { models, weights } = await api.models();
    known = models;
    const ticked = new Set(first ? [models.find(({ name }) => name === "small")?.name ?? models[0]?.name] : picked());
    drawModels(ticked);
    const before = $("weights").value;
    $("weights").replaceChildren($("weights").options[0], ...weights.map((name) => new Option(name, name)));
    if (weights.includes(before)) $("weights").value = before;
  } catch (problem) {
    if (first) $("models").replaceChildren(text("span", "hint", "unknown"));
    if (first) fail(problem);
  }
}

function drawModels(ticked) {
  const open = new Set([...$("models").querySelectorAll("details[open]")].map((one) => one.closest(".model").dataset.name));
  const focused = document.activeElement?.id;
  $("models").replaceChildren(
    ...known.map((model) => {
      const view = modelView(model, ticked.has(model.name), speeds.get(model.name));
      view.dataset.name = model.name;
      const details = view.querySelector("details");
      if (details) details.open = open.has(model.name);
      return view;
    }),
  );
  if (!known.length) $("models").append(text("span", "hint", "none: the decoder's total or weights will rank"));
  if (focused?.startsWith("model-")) document.getElementById(focused)?.focus();
}

const picked = () => [...document.querySelectorAll("input[name=model]:checked")].map((box) => box.value);

/** Puts a text into a field when it has come. */
async function load(field, coming) {
  try {
    $(field).value = await coming;
    $("error").hidden = true;
    $("beams-field").hidden = true;
    if (field === "input") $("references").value = ""; // those were of other lists
    $(field).dispatchEvent(new Event("input"));
    $(field).setSelectionRange(0, 0);
    $(field).focus();
    $(field).scrollTo(0, 0);
  } catch (problem) {
    fail(problem);
  }
}

function dragged(event, zone, field) {
  if (!event.dataTransfer.types.includes("Files")) return; // text that is dragged goes where it is dropped
  event.preventDefault();
  zone.classList.toggle("over", event.type === "dragover");
  if (event.type === "drop" && event.dataTransfer.files.length) load(field, api.fileText(event.dataTransfer.files[0]));
}

async function submit(event) {
  event.preventDefault();
  if ($("go").ariaDisabled === "true") return;
  if (!$("input").value.trim()) {
    fail(new api.Problem({ detail: "Paste an n-best list first, open a file, or load an example." }));
    $("input").focus();
    return;
  }
  busy("Reading…");
  $("error").hidden = true;
  $("notes").replaceChildren();
  try {
    const models = picked();
    const weights = $("weights").value || null;
    const beams = $("beams-field").hidden ? "" : $("beams").value.replaceAll(" ", "");
    const found = await api.convert($("input").value, beams);
    busy("Scoring…");
    const answer = await api.rescore({ models, weights, lists: found.lists });
    session = new Session(found.lists, answer, { models, weights });
    $("notes").replaceChildren(...found.warnings.map((words) => text("p", "", words)));
    opened();
    const lists = session.results.length;
    busy(null, `Done: ${lists} ${lists === 1 ? "list" : "lists"}, read as ${found.format}.`);
    readModels(); // those that were loaded for this are loaded now
  } catch (problem) {
    if (/beam_size/.test(problem.document?.expected ?? "")) {
      $("beams-field").hidden = false;
      problem.document = { detail: "The file does not say where a list ends: how many hypotheses has each list?" };
      fail(problem);
      $("beams").focus();
    } else fail(problem);
    busy(null, session ? "What stands below is of the lists before." : "");
  }
}

/** While the service works: said, the button off, old results dimmed. */
function busy(words, after = "") {
  $("go").ariaDisabled = String(words !== null); // not disabled: it would lose the focus
  $("status").textContent = words ?? after;
  $("status").classList.toggle("working", words !== null);
  $("results").setAttribute("aria-busy", words !== null);
}

function fail(problem) {
  const onLine = (line) => {
    const start = $("input").value.split("\n", line - 1).join("\n").length + (line > 1 ? 1 : 0);
    const end = $("input").value.indexOf("\n", start);
    $("input").focus();
    $("input").setSelectionRange(start, end < 0 ? $("input").value.length : end);
  };
  $("error").replaceChildren(errorView(problem.document ?? { detail: problem.message }, onLine));
  $("error").hidden = false;
}

/** A new answer is here. */
function opened() {
  const { hypotheses, unique_tokens, tokens, compute_seconds } = session.usage;
  $("usage").textContent = `${hypotheses} hypotheses, ${tokens} tokens (${unique_tokens} scored), ${(1000 * compute_seconds).toFixed(1)} ms`;
  $("signature").textContent = session.signature;
  const [model] = session.asked.models;
  if (session.asked.models.length === 1 && compute_seconds > 0) speeds.set(model, unique_tokens / compute_seconds);
  $("list").replaceChildren(
    ...session.results.map(({ id, error }, k) => new Option(`${id ?? `#${k + 1}`}${error ? " (error)" : ""}`, k)),
  );
  $("picker").hidden = session.results.length < 2;
  const carried = session.lists.filter((list) => list?.references?.length).length;
  $("references-hint").textContent = carried
    ? `${carried} of ${session.lists.length} lists came with their own references; lines here go before them.`
    : "In the order of the lists, or each behind the id of its list.";
  $("references").placeholder = carried === session.lists.length ? "those of the lists" : "";
  for (const id of ["results", "judging"]) $(id).hidden = false;
  show(0);
  scores.show(session);
  tuning.show(session);
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  $("results").scrollIntoView({ behavior: calm ? "auto" : "smooth", block: "nearest" });
}

function show(position) {
  at = position;
  showing = PART;
  chosen = null;
  const { error } = session.results[at];
  $("list").value = String(at);
  $("list-error").hidden = !error;
  if (error) $("list-error").replaceChildren(errorView(error));
  drawSliders();
  drawRanking();
}

function download() {
  const lines = session.good.map((k) =>
    JSON.stringify({
      id: session.results[k].id,
      hypotheses: session.ranking(k).map(({ text: words, features, total: score }) => ({ text: words, features, score })),
    }),
  );
  saves("rescored.jsonl", `${lines.join("\n")}\n`, "application/x-ndjson");
}

function drawSliders() {
  const { given } = session.opened[at];
  const weights = session.weights(at);
  const names = Object.keys(given);
  $("sliders").replaceChildren(
    ...names.map((name) =>
      sliderView(name, weights[name], given[name], reach(Math.max(Math.abs(given[name]), Math.abs(weights[name]))), (weight) => {
        session.move(at, name, weight);
        drawRanking();
      }),
    ),
  );
  $("find-field").hidden = names.length <= MANY;
  if (names.length <= MANY) $("find").value = "";
  filterSliders();
}

function filterSliders() {
  const wanted = $("find").value.toLowerCase();
  for (const slider of $("sliders").children) slider.hidden = !slider.textContent.toLowerCase().includes(wanted);
}

function drawRanking() {
  const { hypotheses, warnings } = session.opened[at];
  const own = session.changed;
  const open = new Set([...$("ranks").querySelectorAll("details[open]")].map((details) => details.dataset.index));
  const order = session.ranking(at);
  const weights = session.weights(at);
  $("verdict").replaceChildren(...(order.length ? verdictView(hypotheses[0], order[0]) : []));
  const kept = warnings.filter((warning) => !(own && warning.startsWith("no weights given")));
  $("warnings").replaceChildren(...kept.map((warning) => text("p", "", warning)));
  $("signature-note").hidden = !own;
  const onWords = session.asked.models.length ? lookAt : null;
  $("ranks").replaceChildren(
    ...order.slice(0, showing).map((hypothesis, place) =>
      hypothesisView(hypothesis, place, hypotheses[0], weights, open.has(String(hypothesis.index)), onWords),
    ),
  );
  $("more").hidden = order.length <= showing;
  $("more").textContent = `Show more (${order.length - showing} left)`;
  scores.update();
  drawHypotheses(order);
  drawWords();
}

/** The old best and the new one, and what makes them differ. */
function verdictView(first, best) {
  if (best.text === first.text) return [text("p", "", "The decoder's first choice stays first.")];
  const pair = text("dl", "pair", "");
  pair.append(text("dt", "", "was first"), Object.assign(document.createElement("dd"), { textContent: first.text || "(empty)" }));
  const now = document.createElement("dd");
  now.append(textView(best.text, first.text));
  pair.append(text("dt", "", "is first"), now);
  return [text("p", "", `A new best: rank ${best.index + 1} of the decoder comes first. New words are underlined, those that went are struck out.`), pair];
}

function lookAt(index) {
  chosen = index;
  $("hypothesis").value = String(index);
  drawWords();
  $("words").scrollIntoView({ block: "nearest" });
  $("words-title").focus({ preventScroll: true });
}

function drawHypotheses(order) {
  const short = (words) => (words.length > 60 ? `${words.slice(0, 60)}…` : words || "(empty)");
  $("hypothesis").replaceChildren(
    new Option("the best", ""),
    ...order.map(({ index, text: words }, place) => new Option(`${place + 1}. ${short(words)}`, index)),
  );
  $("hypothesis").value = chosen === null ? "" : String(chosen);
}

/** The tokens of the hypothesis looked at, and of the decoder's first beside it; asked for when they are wanted. */
async function drawWords() {
  const { hypotheses } = session.opened[at];
  $("words").hidden = !session.asked.models.length || !hypotheses.length;
  if ($("words").hidden) return;
  const best = chosen ?? session.ranking(at)[0].index;
  const wanted = [...new Set([best, 0])];
  const mine = ++asked;
  try {
    const tokens = await tokensOf(session, at, wanted);
    if (mine !== asked) return;
    $("words-error").hidden = true;
    $("heat").replaceChildren(
      ...wanted.map((index, k) => {
        const box = text("section", "heat-of", "");
        const name = wanted.length === 1 ? "the decoder's first" : k ? "the decoder's first, to compare" : chosen === null ? "the best" : `rank ${best + 1} of the decoder`;
        box.append(text("h3", "", name[0].toUpperCase() + name.slice(1)), heatView(tokens[k], name));
        return box;
      }),
    );
  } catch (problem) {
    if (mine !== asked) return;
    $("heat").replaceChildren();
    $("words-error").replaceChildren(errorView(problem.document ?? { detail: problem.message }));
    $("words-error").hidden = false;
  }
}

const tokensKnown = new WeakMap(); // session -> "list hypothesis" -> tokens by model

async function tokensOf(of, list, wanted) {
  if (!tokensKnown.has(of)) tokensKnown.set(of, new Map());
  const cache = tokensKnown.get(of);
  const missing = wanted.filter((index) => !cache.has(`${list} ${index}`));
  if (missing.length) {
    const { id, hypotheses } = of.lists[list];
    const body = { models: of.asked.models, weights: of.asked.weights, options: { tokens: true }, lists: [{ id, hypotheses: missing.map((index) => hypotheses[index]) }] };
    const { results } = await api.rescore(body);
    if (results[0].error) throw new api.Problem(results[0].error);
    for (const { index, tokens } of results[0].ranking) cache.set(`${list} ${missing[index]}`, tokens);
  }
  return wanted.map((index) => cache.get(`${list} ${index}`));
}

start();
