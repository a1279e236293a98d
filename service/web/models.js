// The gallery of language models: what each one is, so that the choice is an informed one.

import { text } from "./view.js";

const WANTED = [/^held-out, sentence state$/, /^validation, sentence state$/, /sentence state$/, /./];

/** The perplexity that says most about lists: held out, each sentence from a fresh start. */
export function perplexityOf(figures) {
  const found = Object.entries(figures?.perplexity ?? {});
  for (const pattern of WANTED) {
    const hit = found.find(([name]) => pattern.test(name));
    if (hit) return hit;
  }
  return null;
}

export function bytesIn(bytes) {
  const units = ["B", "kB", "MB", "GB"];
  const power = bytes > 0 ? Math.min(3, Math.floor(Math.log10(bytes) / 3)) : 0;
  return `${(bytes / 1000 ** power).toFixed(power ? 1 : 0)} ${units[power]}`;
}

/** One model as a choice; `speed` in tokens a second, where it was seen at work. */
export function modelView(model, checked, speed) {
  const card = text("div", "model", "");
  const id = `model-${model.name}`;
  const box = Object.assign(document.createElement("input"), { type: "checkbox", value: model.name, name: "model", id, checked });
  const name = text("label", "name", model.name);
  name.htmlFor = id;
  const state = model.loading ? "loading" : model.loaded ? (model.stale ? "loaded, files are newer" : "loaded") : "loads at first use";
  const head = text("div", "model-head", "");
  head.append(box, name, text("span", `state${model.loaded ? " on" : ""}`, state));
  const facts = text("dl", "facts", "");
  const fact = (label, value, title) => {
    const pair = text("div", "", "");
    pair.append(text("dt", "", label), text("dd", "", value));
    if (title) pair.title = title;
    facts.append(pair);
  };
  if (model.system) fact("kind", model.system);
  if (model.bytes) fact("size", bytesIn(model.bytes));
  const perplexity = perplexityOf(model.figures);
  if (perplexity) fact("perplexity", perplexity[1].toFixed(1), perplexity[0]);
  fact("speed", speed ? `${Math.round(speed).toLocaleString("en")} tokens/s` : "not used yet", "unique tokens a second, in the last request from this page");
  if (model.card.licence) fact("licence", model.card.licence);
  card.append(head, facts);
  const more = Object.entries({ ...(perplexity && { "perplexity on": perplexity[0] }), ...model.card, digest: model.digest });
  const said = more.filter(([label, value]) => value && label !== "licence");
  if (said.length) {
    const details = text("details", "more", "");
    const summary = text("summary", "", "About");
    summary.append(text("span", "unseen", ` ${model.name}`));
    const list = text("dl", "", "");
    for (const [label, value] of said) list.append(text("dt", "", label), text("dd", "", value));
    details.append(summary, list);
    card.append(details);
  }
  return card;
}
