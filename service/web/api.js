// Talks to the service; a problem document becomes a Problem. A service that wants a key has it asked for.

import { askForKey, key } from "./key.js";

export class Problem extends Error {
  constructor(document) {
    super(document.detail ?? document.title ?? "the service did not answer");
    this.document = document;
  }
}

/** As fetch, with the key; asks for one where the service does, until it has it or nobody gives one. */
export async function withKey(path, options = {}) {
  for (;;) {
    const given = key();
    const headers = given ? { ...options.headers, Authorization: `Bearer ${given}` } : options.headers;
    const response = await fetch(path, { ...options, headers });
    if (response.status !== 401) return response;
    const words = given ? "The service does not take this key." : "The service needs a key; it is kept until this tab is closed.";
    if (!(await askForKey(words))) return response;
  }
}

async function call(path, options) {
  let response;
  try {
    response = await withKey(path, options);
  } catch {
    throw new Problem({ detail: "The service cannot be reached." });
  }
  const answer = await response.json().catch(() => ({ detail: `The service answered ${response.status}.` }));
  if (!response.ok) throw new Problem(answer);
  return answer;
}

export const models = () => call("v1/models");

/** Lists as typed, sorted out: {lists} of JSON lines, or {moses} as it is; raises Problem in helpful words. */
export function read(text) {
  const input = text.replace(/^\uFEFF?\s+|^\uFEFF/, "");
  if (!input) throw new Problem({ detail: "Paste an n-best list first, open a file, or load an example." });
  if (/^[{[]/.test(input)) return { lists: jsonLists(input) };
  const first = input.split("\n", 1)[0];
  if (!first.includes("|||"))
    throw new Problem({
      detail:
        "This is neither a Moses list nor JSON lines. A Kaldi n-best directory is several files: " +
        "make it one of JSON lines with “nbest convert DIR --out lists.jsonl”, and open that here.",
      expected: "id ||| text ||| features ||| total",
      got: first.length > 80 ? `${first.slice(0, 80)}…` : first,
    });
  return { moses: input.endsWith("\n") ? input : `${input}\n` };
}

/** The service's answer for lists as `read` gives them. */
export function rescore({ lists, moses }, chosen, weights) {
  if (lists)
    return call("v1/rescore", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ models: chosen, weights: weights || null, lists }),
    });
  const query = new URLSearchParams(chosen.map((name) => ["models", name]));
  if (weights) query.set("weights", weights);
  return call(`v1/rescore?${query}`, {
    method: "POST",
    headers: { "Content-Type": "text/plain; charset=utf-8", Accept: "application/json" },
    body: moses,
  });
}

function jsonLists(input) {
  try {
    const whole = JSON.parse(input); // one list, an array of lists, or a request's body
    return (Array.isArray(whole) ? whole : (whole.lists ?? [whole])).map(withoutReferences);
  } catch {
    // several lines, or what the lines will say is wrong
  }
  return input.split("\n").flatMap((line, number) => {
    if (!line.trim()) return [];
    try {
      return [withoutReferences(JSON.parse(line))];
    } catch (error) {
      throw new Problem({ detail: `Line ${number + 1} is not JSON: ${error.message}` });
    }
  });
}

function withoutReferences(list) {
  if (list && typeof list === "object") delete list.references;
  return list;
}

/** The text of a file the user has; gzip is opened. */
export async function fileText(file) {
  const start = new Uint8Array(await file.slice(0, 2).arrayBuffer());
  const gzip = start[0] === 0x1f && start[1] === 0x8b;
  const stream = gzip ? file.stream().pipeThrough(new DecompressionStream("gzip")) : file.stream();
  try {
    const bytes = await new Response(stream).arrayBuffer();
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new Problem({ detail: `“${file.name}” is not UTF-8 text, or is not whole.` });
  }
}

/** One of the lists made up for this page. */
export async function example(name) {
  const answer = await fetch(`web/${name}`);
  if (!answer.ok) throw new Problem({ detail: `The example cannot be had: the service answered ${answer.status}.` });
  return answer.text();
}
