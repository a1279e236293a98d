// Talks to the service; a problem document becomes a Problem.

export class Problem extends Error {
  constructor(document) {
    super(document.detail ?? document.title ?? "the service did not answer");
    this.document = document;
  }
}

async function call(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Problem({ detail: "The service cannot be reached." });
  }
  const answer = await response.json().catch(() => ({ detail: `The service answered ${response.status}.` }));
  if (!response.ok) throw new Problem(answer);
  return answer;
}

export const models = () => call("v1/models");

/** Lists as typed: JSON lines are parsed here, Moses text goes as it is. */
export function rescore(text, chosen, weights) {
  const input = text.replace(/^\s+/, "");
  if (!input) throw new Problem({ detail: "Paste an n-best list first, or load an example." });
  if (input.startsWith("{")) {
    return call("v1/rescore", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ models: chosen, weights: weights || null, lists: jsonLines(input) }),
    });
  }
  const query = new URLSearchParams(chosen.map((name) => ["models", name]));
  if (weights) query.set("weights", weights);
  return call(`v1/rescore?${query}`, {
    method: "POST",
    headers: { "Content-Type": "text/plain; charset=utf-8", Accept: "application/json" },
    body: input.endsWith("\n") ? input : `${input}\n`,
  });
}

function jsonLines(text) {
  return text.split("\n").flatMap((line, number) => {
    if (!line.trim()) return [];
    try {
      const list = JSON.parse(line);
      delete list.references;
      return [list];
    } catch (error) {
      throw new Problem({ detail: `Line ${number + 1} is not JSON: ${error.message}` });
    }
  });
}
