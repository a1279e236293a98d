// Word by word: what each model gives to each token of a hypothesis, as a row of tinted words with numbers.

import { text } from "./view.js";

/** Upper ends of the tints, in nats of surprise (-log-probability); the last tint has none. */
export const STEPS = [1, 2, 4, 6, 8, 10];

/** The tint of a log-probability: 0 expected, 6 a great surprise. */
export const tintOf = (natLogProb) => {
  const found = STEPS.findIndex((end) => -natLogProb < end);
  return found < 0 ? STEPS.length : found;
};

const minus = (value, digits) => value.toFixed(digits).replace("-", "−");

function probability(natLogProb) {
  const percent = 100 * Math.exp(natLogProb);
  return percent >= 0.1 ? `${percent.toPrecision(2)} %` : `1 in ${Math.round(Math.exp(-natLogProb)).toLocaleString("en")}`;
}

const shown = (token) => (token === "</s>" ? "end" : token);

/** What is said of one token. */
export function wordsOf({ token, nat_log_prob: value, oov }) {
  const what = token === "</s>" ? "the end of the sentence" : `“${token}”`;
  return `${what}: ${minus(value, 3)} nats, ${probability(value)}${oov ? "; not in the model's vocabulary" : ""}`;
}

/** The rows of one hypothesis: `tokens` by model. Arrow keys go from word to word; what is at hand is said. */
export function heatView(tokens, label) {
  const box = text("div", "heat-box", "");
  for (const [model, found] of Object.entries(tokens)) {
    const sum = found.reduce((total, { nat_log_prob: value }) => total + value, 0);
    const unknown = found.filter(({ oov }) => oov).length;
    const head = text("p", "heat-head", "");
    head.append(text("strong", "", model), ` ${minus(sum, 2)} nats in ${found.length} tokens, perplexity ${Math.exp(-sum / found.length).toFixed(1)}`);
    if (unknown) head.append(`, ${unknown} unknown`);
    const row = text("ul", "heat", "");
    row.setAttribute("aria-label", `${label}: tokens under ${model}; arrow keys move`);
    const line = text("p", "hint heat-said", "Point at a word, or go there with the arrow keys.");
    line.setAttribute("aria-hidden", "true"); // the item that has the focus says it itself
    const items = found.map((one, k) => {
      const item = text("li", `token tint-${tintOf(one.nat_log_prob)}${one.oov ? " oov" : ""}`, "");
      item.append(text("span", one.token === "</s>" ? "word end" : "word", shown(one.token)), text("span", "value", minus(one.nat_log_prob, 1)));
      item.setAttribute("aria-label", wordsOf(one));
      item.tabIndex = k ? -1 : 0;
      const say = () => (line.textContent = wordsOf(one));
      item.addEventListener("pointerenter", say);
      item.addEventListener("focus", say);
      return item;
    });
    row.addEventListener("keydown", (event) => {
      const here = items.indexOf(document.activeElement);
      const steps = { ArrowRight: here + 1, ArrowLeft: here - 1, Home: 0, End: items.length - 1 };
      const there = items[steps[event.key]];
      if (!there) return;
      event.preventDefault();
      items[here].tabIndex = -1;
      there.tabIndex = 0;
      there.focus();
    });
    row.append(...items);
    box.append(head, row, line);
  }
  return box;
}

/** What the tints mean. */
export function legendView() {
  const list = text("ul", "legend", "");
  list.setAttribute("aria-label", "Legend: nats of surprise");
  [...STEPS, Infinity].forEach((end, k) => {
    const words = end === Infinity ? `${STEPS.at(-1)} and more` : `${k ? STEPS[k - 1] : 0}–${end}`;
    list.append(text("li", `tint-${k}`, words));
  });
  return list;
}
