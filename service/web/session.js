// What is on the table: the lists that were sent, what came back, and the weights that were moved since.

import { columns, rank } from "./ranking.js";

/** Lists without a result of their own (an error) have no hypotheses. */
const NOTHING = { hypotheses: [], given: {}, warnings: [] };

export class Session {
  /** `lists` as they were sent, `answer` of /v1/rescore, `asked` {models, weights} of the request. */
  constructor(lists, answer, asked) {
    this.lists = lists;
    this.asked = asked;
    this.results = answer.results;
    this.signature = answer.signature;
    this.usage = answer.usage;
    this.moved = {}; // by column, for every list
    this.opened = answer.results.map((result) => (result.error ? NOTHING : opened(result)));
  }

  get changed() {
    return Object.keys(this.moved).length > 0;
  }

  /** The weights of list `k` as they are now. */
  weights(k) {
    return { ...this.opened[k].given, ...this.moved };
  }

  /** List `k` best first, under the weights of now. */
  ranking(k) {
    return rank(this.opened[k].hypotheses, this.weights(k));
  }

  /** One weight by hand; what equals the answer's is no change. */
  move(k, column, weight) {
    if (weight === this.opened[k].given[column]) delete this.moved[column];
    else this.moved[column] = weight;
  }

  /** All weights of a weight set; columns that it does not name count nothing, as the decoder's total. */
  take(features) {
    const named = Object.fromEntries(columns(features));
    this.moved = {};
    for (const { given } of this.opened)
      for (const column of Object.keys(given)) this.moved[column] = named[column] ?? 0;
  }

  reset() {
    this.moved = {};
  }

  /** Indices of the lists that could be ranked. */
  get good() {
    return this.results.flatMap(({ error }, k) => (error ? [] : [k]));
  }

  /** The first texts of the lists `at`: as they came, as the service ranked them, as they are now. */
  bests(at) {
    return {
      before: at.map((k) => this.opened[k].hypotheses[0].text),
      answer: at.map((k) => this.results[k].ranking[0].text),
      now: at.map((k) => this.ranking(k)[0].text),
    };
  }
}

/** A result as it is ranked here: hypotheses in the decoder's order, and the weights of the answer. */
function opened(result) {
  const hypotheses = result.ranking
    .map(({ index, text, features }) => ({ index, text, features, columns: columns(features) }))
    .sort((a, b) => a.index - b.index);
  const given = Object.fromEntries(columns(result.weights));
  for (const [name] of hypotheses[0].columns) given[name] ??= 0;
  return { hypotheses, given, warnings: result.warnings ?? [] };
}

/** References of `lists`: lines typed, by position or behind the lists' ids; else those the lists carry. */
export function referencesOf(lists, typed) {
  const lines = typed.replace(/\n+$/, "").split("\n").map((line) => line.replace(/\r$/, "").trim());
  if (typed.trim()) {
    const ids = new Map(lists.map(({ id }, k) => [String(id), k]));
    const first = lines.map((line) => line.split(/[ \t]/, 1)[0]);
    const named = lines.length === lists.length && new Set(first).size === lines.length && first.every((id) => ids.has(id));
    if (named) {
      const found = Array(lists.length);
      lines.forEach((line, k) => (found[ids.get(first[k])] = [line.slice(first[k].length).trim()]));
      return found;
    }
    if (lines.length !== lists.length)
      throw new Error(`There are ${lists.length} lists and ${lines.length} lines of references: one line a list, in their order.`);
    return lines.map((line) => [line]);
  }
  const carried = lists.map((list) => list?.references);
  return carried.every((one) => Array.isArray(one) && one.length) ? carried : null;
}
