// Pieces of the page as elements; text only ever enters as text.

import { changes, parts } from "./ranking.js";

export function text(tag, className, content) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.textContent = content;
  return element;
}

const number = (value) => (Math.abs(value) >= 1e6 ? value.toExponential(3) : value.toFixed(3));

/** What is wrong; `onLine`, where it is known which line of the text that is, goes there. */
export function errorView({ detail, pointer, expected, got }, onLine) {
  const box = document.createElement("div");
  const [, line, words] = detail.match(/^body:(\d+)(?: \S+)?: (.*)$/s) ?? [];
  box.append(text("strong", "", line ? `Line ${line}: ${words}` : detail.replace(/^body: /, "")));
  const facts = { where: pointer, expected, got };
  const list = document.createElement("dl");
  for (const [name, value] of Object.entries(facts))
    if (value) list.append(text("dt", "", name), text("dd", "", value));
  if (list.childElementCount) box.append(list);
  if (line && onLine) {
    const go = Object.assign(text("button", "small", `Go to line ${line}`), { type: "button" });
    go.addEventListener("click", () => onLine(Number(line)));
    box.append(go);
  }
  return box;
}

export function sliderView(name, weight, given, { min, max, step }, onWeight) {
  const box = text("div", "slider", "");
  const id = `weight-${name}`;
  const label = text("label", "", "");
  const [, stem, part] = name.match(/^(.*?)(\[\d+\])?$/s);
  label.append(stem, ...(part ? [document.createElement("wbr"), text("span", "part", part)] : []));
  label.htmlFor = id;
  const attributes = { step: "any", value: weight };
  const field = Object.assign(document.createElement("input"), { ...attributes, type: "number" });
  field.setAttribute("aria-label", `weight of ${name}`);
  field.value = Number(weight.toPrecision(4));
  const range = Object.assign(document.createElement("input"), { type: "range", id, min, max, step });
  range.value = weight;
  range.setAttribute("aria-valuetext", String(Number(weight.toPrecision(4))));
  const set = (value) => {
    if (!Number.isFinite(value)) return;
    box.classList.toggle("moved", value !== given);
    range.setAttribute("aria-valuetext", String(Number(value.toPrecision(4))));
    onWeight(value);
  };
  range.addEventListener("input", () => {
    field.value = Number(range.valueAsNumber.toPrecision(4));
    set(range.valueAsNumber);
  });
  field.addEventListener("input", () => {
    range.value = field.value;
    set(field.valueAsNumber);
  });
  box.classList.toggle("moved", weight !== given);
  box.append(label, field, range);
  return box;
}

export function hypothesisView(hypothesis, place, first, weights, open, onWords) {
  const item = text("li", place === 0 ? "best" : "", "");
  const details = Object.assign(document.createElement("details"), { open });
  details.dataset.index = hypothesis.index;
  const summary = document.createElement("summary");
  summary.append(
    text("span", "rank", place + 1),
    moveView(hypothesis.index - place, hypothesis.index + 1),
    textView(hypothesis.text, first.text),
    text("span", "score", number(hypothesis.total)),
  );
  details.append(summary);
  // A hundred tables nobody looks at would slow the sliders: each is made when it is opened.
  const fill = () => {
    if (!details.open || details.childElementCount > 1) return;
    details.append(partsView(hypothesis, first, weights));
    if (!onWords) return;
    const words = Object.assign(text("button", "small", "Word by word"), { type: "button" });
    words.addEventListener("click", () => onWords(hypothesis.index));
    const row = text("div", "buttons", "");
    row.append(words);
    details.append(row);
  };
  details.addEventListener("toggle", fill);
  fill();
  item.append(details);
  return item;
}

function moveView(places, before) {
  const [kind, sign] = places > 0 ? ["up", "▲"] : places < 0 ? ["down", "▼"] : ["", "="];
  const view = text("span", `move ${kind}`, places ? `${sign} ${Math.abs(places)}` : sign);
  view.title = `the decoder's rank ${before}`;
  view.setAttribute("role", "img");
  view.setAttribute("aria-label", `was rank ${before}`);
  return view;
}

/** The words of a hypothesis, with what another one has more or less. */
export function textView(words, base) {
  const view = text("span", "text", "");
  if (!words) view.append(text("span", "empty", "empty hypothesis"));
  else
    changes(words, base).forEach(({ word, kind }, k) => {
      if (k) view.append(" ");
      view.append(kind === "same" ? word : text(kind === "new" ? "ins" : "del", "", word));
    });
  return view;
}

function partsView(hypothesis, first, weights) {
  const rows = parts(hypothesis, first, weights);
  const widest = Math.max(...rows.map(({ gain }) => Math.abs(gain)), 1e-9);
  const table = document.createElement("table");
  const head = table.createTHead().insertRow();
  for (const title of ["feature", "value", "weight", "score", "against the first", ""])
    head.append(title ? Object.assign(text("th", "", title), { scope: "col" }) : text("td", "", ""));
  const body = table.createTBody();
  for (const { name, value, weight, contribution, gain } of rows) {
    const row = body.insertRow();
    row.append(text("td", "", name), text("td", "", number(value)), text("td", "", Number(weight.toPrecision(4))));
    row.append(text("td", "", number(contribution)), text("td", "", `${gain > 0 ? "+" : ""}${number(gain)}`));
    row.append(barView(gain / widest));
  }
  const box = text("div", "parts wide", "");
  box.append(table);
  return box;
}

/** A bar from the middle to the right for a gain, to the left for a loss; `share` is within -1..1. */
function barView(share) {
  const cell = text("td", "bar", "");
  const svg = (tag, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  };
  const drawing = svg("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" });
  const width = 50 * Math.abs(share);
  drawing.append(
    svg("rect", { class: "axis", x: 49.5, width: 1, height: 10 }),
    svg("rect", { class: share < 0 ? "minus" : "plus", x: share < 0 ? 50 - width : 50, width, y: 1, height: 8 }),
  );
  cell.append(drawing);
  return cell;
}

/** Gives the user a file. */
export function saves(name, content, type) {
  const url = URL.createObjectURL(new Blob([content], { type }));
  Object.assign(document.createElement("a"), { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** A button that copies what `words()` gives; where there is no clipboard, `block` is selected instead. */
export function copies(button, words, block) {
  const name = button.textContent;
  button.addEventListener("click", async () => {
    let said = "Copied";
    try {
      await navigator.clipboard.writeText(words()); // absent over plain HTTP from another machine
    } catch {
      if (block) getSelection().selectAllChildren(block);
      said = block ? "Selected" : "Not allowed here";
    }
    button.textContent = said;
    setTimeout(() => (button.textContent = name), 2000);
  });
}
