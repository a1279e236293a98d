// The page: what was typed goes to the service, what comes back is shown and ranked again as sliders move.

import * as api from "./api.js";
import { columns, rank, reach } from "./ranking.js";
import { copies, errorView, hypothesisView, sliderView, text } from "./view.js";

const $ = (id) => document.getElementById(id);
let results = []; // the lists of the last answer
let moved = {}; // weights that the user chose, by column, for every list of the answer
let shown = null; // {hypotheses, given, warnings}: the list on the screen

async function start() {
  for (const button of document.querySelectorAll("[data-example]"))
    button.addEventListener("click", () => load(api.example(button.dataset.example)));
  $("file").addEventListener("change", () => {
    if ($("file").files.length) load(api.fileText($("file").files[0]));
    $("file").value = ""; // the same file may be opened again
  });
  for (const kind of ["dragover", "dragleave", "drop"]) $("form").addEventListener(kind, dragged);
  $("form").addEventListener("submit", submit);
  $("list").addEventListener("change", () => show(Number($("list").value)));
  $("reset").addEventListener("click", () => {
    moved = {};
    drawSliders();
    drawRanking();
  });
  copies($("copy-signature"), () => $("signature").textContent, $("signature"));
  copies($("copy-best"), () => ranked().map(({ ranking }) => `${ranking[0]?.text ?? ""}\n`).join(""));
  $("download").addEventListener("click", download);
  try {
    const { models, weights } = await api.models();
    $("models").replaceChildren(...models.map(chip));
    if (!models.length) $("models").append(text("span", "hint", "none: the decoder's total or weights will rank"));
    for (const name of weights) $("weights").append(new Option(name, name));
  } catch (problem) {
    $("models").replaceChildren(text("span", "hint", "unknown"));
    fail(problem);
  }
}

/** Puts a text into the field when it has come. */
async function load(coming) {
  try {
    $("input").value = await coming;
    $("error").hidden = true;
    $("input").setSelectionRange(0, 0);
    $("input").focus();
    $("input").scrollTo(0, 0);
  } catch (problem) {
    fail(problem);
  }
}

function dragged(event) {
  if (!event.dataTransfer.types.includes("Files")) return; // text that is dragged goes where it is dropped
  event.preventDefault();
  $("form").classList.toggle("over", event.type === "dragover");
  if (event.type === "drop" && event.dataTransfer.files.length) load(api.fileText(event.dataTransfer.files[0]));
}

function chip({ name }, position) {
  const label = text("label", "chip", "");
  const box = Object.assign(document.createElement("input"), { type: "checkbox", value: name, name: "model" });
  box.checked = position === 0;
  label.append(box, name);
  return label;
}

async function submit(event) {
  event.preventDefault();
  if ($("go").disabled) return;
  busy(true);
  $("error").hidden = true;
  try {
    const chosen = [...document.querySelectorAll("input[name=model]:checked")].map((box) => box.value);
    const answer = await api.rescore(api.read($("input").value), chosen, $("weights").value);
    results = answer.results;
    moved = {};
    const { hypotheses, unique_tokens, tokens, compute_seconds } = answer.usage;
    const milliseconds = (1000 * compute_seconds).toFixed(1);
    $("usage").textContent = `${hypotheses} hypotheses, ${tokens} tokens (${unique_tokens} scored), ${milliseconds} ms`;
    $("signature").textContent = answer.signature;
    $("list").replaceChildren(
      ...results.map(({ id, error }, k) => new Option(`${id ?? `#${k + 1}`}${error ? " (error)" : ""}`, k)),
    );
    $("picker").hidden = results.length < 2;
    show(0);
    busy(false, `Done: ${results.length} ${results.length === 1 ? "list" : "lists"}.`);
  } catch (problem) {
    $("results").hidden = true;
    fail(problem);
    busy(false);
  }
}

/** While the service works: said, the button off, old results dimmed. */
function busy(working, words = "") {
  $("go").disabled = working;
  $("status").textContent = working ? "Scoring…" : words;
  $("status").classList.toggle("working", working);
  $("results").setAttribute("aria-busy", working);
}

function fail(problem) {
  $("error").replaceChildren(errorView(problem.document ?? { detail: problem.message }));
  $("error").hidden = false;
}

function show(position) {
  const result = results[position];
  $("results").hidden = Boolean(result.error);
  $("error").hidden = true;
  if (result.error) {
    fail({ document: result.error });
    $("results").hidden = results.length < 2; // the picker must stay within reach
    $("ranks").replaceChildren();
    $("sliders").replaceChildren();
    $("verdict").textContent = "This list could not be ranked.";
    $("warnings").replaceChildren();
    return;
  }
  shown = opened(result);
  drawSliders();
  drawRanking();
  if (position === 0) $("results").scrollIntoView({ behavior: "smooth", block: "nearest" });
}

/** A result as it is ranked here: hypotheses in the decoder's order, and the weights of the answer. */
function opened(result) {
  const hypotheses = result.ranking
    .map((entry) => ({ index: entry.index, text: entry.text, features: entry.features, columns: columns(entry.features) }))
    .sort((a, b) => a.index - b.index);
  const given = Object.fromEntries(columns(result.weights));
  for (const [name] of hypotheses[0].columns) given[name] ??= 0;
  return { hypotheses, given, warnings: result.warnings ?? [] };
}

/** Every list under the weights of now; one with an error has no hypotheses. */
const ranked = () =>
  results.map((result) => {
    if (result.error) return { id: result.id, ranking: [] };
    const { hypotheses, given } = opened(result);
    return { id: result.id, ranking: rank(hypotheses, { ...given, ...moved }) };
  });

function download() {
  const lines = ranked()
    .filter(({ ranking }) => ranking.length)
    .map(({ id, ranking }) =>
      JSON.stringify({
        id,
        hypotheses: ranking.map(({ text: words, features, total: score }) => ({ text: words, features, score })),
      }),
    );
  const url = URL.createObjectURL(new Blob([`${lines.join("\n")}\n`], { type: "application/x-ndjson" }));
  Object.assign(document.createElement("a"), { href: url, download: "rescored.jsonl" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

function drawSliders() {
  $("sliders").replaceChildren(
    ...Object.entries(shown.given).map(([name, given]) =>
      sliderView(name, moved[name] ?? given, given, reach(given), (weight) => {
        if (weight === given) delete moved[name];
        else moved[name] = weight;
        drawRanking();
      }),
    ),
  );
}

function drawRanking() {
  const open = new Set([...$("ranks").querySelectorAll("details[open]")].map((details) => details.dataset.index));
  const weights = { ...shown.given, ...moved };
  const own = Object.keys(moved).length > 0;
  const order = rank(shown.hypotheses, weights);
  const first = shown.hypotheses[0];
  $("verdict").textContent =
    order[0].text !== first.text
      ? `A new best: rank ${order[0].index + 1} of the decoder comes first. Words that the decoder's first lacks are marked, those it has more are struck out.`
      : "The decoder's first choice stays first.";
  const warnings = shown.warnings.filter((warning) => !(own && warning.startsWith("no weights given")));
  $("warnings").replaceChildren(...warnings.map((warning) => text("p", "", warning)));
  $("signature-note").hidden = !own;
  $("ranks").replaceChildren(
    ...order.slice(0, 200).map((hypothesis, place) =>
      hypothesisView(hypothesis, place, first, weights, open.has(String(hypothesis.index))),
    ),
  );
  if (order.length > 200) $("ranks").append(text("li", "hint", `and ${order.length - 200} more`));
}

start();
