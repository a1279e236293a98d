// Pure arithmetic of a ranking: columns, totals, order, differences. No document here.

/** Flat columns of a hypothesis: [["TranslationModel0[1]", -12.5], ...]. */
export function columns(features) {
  return Object.entries(features).flatMap(([name, value]) =>
    Array.isArray(value) ? value.map((part, k) => [`${name}[${k}]`, part]) : [[name, value]],
  );
}

/** Sum of weight times feature; a column without weight counts nothing. */
export function total(hypothesis, weights) {
  return hypothesis.columns.reduce((sum, [name, value]) => sum + (weights[name] ?? 0) * value, 0);
}

/** Hypotheses best first with their new totals; of equal ones the earlier in the request wins. */
export function rank(hypotheses, weights) {
  return hypotheses
    .map((hypothesis) => ({ ...hypothesis, total: total(hypothesis, weights) }))
    .sort((a, b) => b.total - a.total || a.index - b.index);
}

/** What each column adds, and how much more than in `base` (the decoder's first). */
export function parts(hypothesis, base, weights) {
  const before = Object.fromEntries(base.columns);
  return hypothesis.columns.map(([name, value]) => {
    const weight = weights[name] ?? 0;
    return { name, value, weight, contribution: weight * value, gain: weight * (value - before[name]) };
  });
}

/** Words of `text` and of `base` along a longest common subsequence: "same", "new" (not in base), "gone". */
export function changes(text, base) {
  const [a, b] = [text, base].map((words) => (words ? words.split(" ") : []));
  if (a.length * b.length > 250_000) return a.map((word) => ({ word, kind: "same" }));
  const length = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1; j >= 0; j--)
      length[i][j] = a[i] === b[j] ? length[i + 1][j + 1] + 1 : Math.max(length[i + 1][j], length[i][j + 1]);
  const marked = [];
  for (let i = 0, j = 0; i < a.length || j < b.length; ) {
    if (i < a.length && j < b.length && a[i] === b[j]) marked.push({ word: a[i++], kind: "same" }), j++;
    else if (i === a.length || (j < b.length && length[i][j + 1] >= length[i + 1][j]))
      marked.push({ word: b[j++], kind: "gone" });
    else marked.push({ word: a[i++], kind: "new" });
  }
  return marked;
}

/** A slider's reach: nothing in the middle, twice the weight at either end. */
export function reach(weight) {
  const size = Math.max(Math.abs(weight), 0.5);
  return { min: -2 * size, max: 2 * size, step: size / 100 };
}
