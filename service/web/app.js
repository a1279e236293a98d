// The page: what was typed goes to the service, what comes back is shown and ranked again as sliders move.

import * as api from "./api.js";
import { EXAMPLES } from "./examples.js";
import { columns, rank, reach } from "./ranking.js";
import { errorView, hypothesisView, sliderView, text } from "./view.js";

const $ = (id) => document.getElementById(id);
let results = []; // the lists of the last answer
let shown = null; // {hypotheses, weights, given}: the list on the screen

async function start() {
  for (const button of document.querySelectorAll("[data-example]"))
    button.addEventListener("click", () => {
      $("input").value = EXAMPLES[button.dataset.example];
      $("input").setSelectionRange(0, 0);
      $("input").focus();
      $("input").scrollTo(0, 0);
    });
  $("form").addEventListener("submit", submit);
  $("list").addEventListener("change", () => show(Number($("list").value)));
  $("reset").addEventListener("click", () => {
    shown.weights = { ...shown.given };
    drawSliders();
    drawRanking();
  });
  try {
    const { models, weights } = await api.models();
    $("models").replaceChildren(...models.map(chip));
    if (!models.length) $("models").append(text("span", "hint", "none: the weights alone will rank"));
    for (const name of weights) $("weights").append(new Option(name, name));
  } catch (problem) {
    $("models").replaceChildren(text("span", "hint", "unknown"));
    fail(problem);
  }
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
  $("go").disabled = true;
  $("error").hidden = true;
  try {
    const chosen = [...document.querySelectorAll("input[name=model]:checked")].map((box) => box.value);
    const answer = await api.rescore($("input").value, chosen, $("weights").value);
    results = answer.results;
    const { hypotheses, unique_tokens, tokens, compute_seconds } = answer.usage;
    const milliseconds = (1000 * compute_seconds).toFixed(1);
    $("usage").textContent = `${hypotheses} hypotheses, ${tokens} tokens (${unique_tokens} scored), ${milliseconds} ms`;
    $("list").replaceChildren(
      ...results.map(({ id, error }, k) => new Option(`${id ?? `#${k + 1}`}${error ? " (error)" : ""}`, k)),
    );
    $("picker").hidden = results.length < 2;
    show(0);
  } catch (problem) {
    $("results").hidden = true;
    fail(problem);
  } finally {
    $("go").disabled = false;
  }
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
  const hypotheses = result.ranking
    .map((entry) => ({ index: entry.index, text: entry.text, columns: columns(entry.features) }))
    .sort((a, b) => a.index - b.index);
  const given = Object.fromEntries(columns(result.weights));
  for (const [name] of hypotheses[0].columns) given[name] ??= 0;
  shown = { hypotheses, given, weights: { ...given } };
  $("warnings").replaceChildren(...(result.warnings ?? []).map((warning) => text("p", "", warning)));
  drawSliders();
  drawRanking();
  if (position === 0) $("results").scrollIntoView({ behavior: "smooth", block: "nearest" });
}

function drawSliders() {
  $("sliders").replaceChildren(
    ...Object.entries(shown.given).map(([name, given]) =>
      sliderView(name, shown.weights[name], given, reach(given), (weight) => {
        shown.weights[name] = weight;
        drawRanking();
      }),
    ),
  );
}

function drawRanking() {
  const open = new Set([...$("ranks").querySelectorAll("details[open]")].map((details) => details.dataset.index));
  const ranked = rank(shown.hypotheses, shown.weights);
  const first = shown.hypotheses[0];
  const moved = ranked[0].text !== first.text;
  $("verdict").textContent = moved
    ? `A new best: rank ${ranked[0].index + 1} of the decoder comes first. Marked words differ from the decoder's first.`
    : "The decoder's first choice stays first.";
  $("ranks").replaceChildren(
    ...ranked.slice(0, 200).map((hypothesis, place) =>
      hypothesisView(hypothesis, place, first, shown.weights, open.has(String(hypothesis.index))),
    ),
  );
  if (ranked.length > 200) $("ranks").append(text("li", "hint", `and ${ranked.length - 200} more`));
}

start();
