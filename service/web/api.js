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

async function answered(path, options) {
  let response;
  try {
    response = await withKey(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({ detail: "The service cannot be reached." });
  }
  if (response.ok) return response;
  const wait = response.headers.get("Retry-After");
  const problem = await response.json().catch(() => ({ detail: `The service answered ${response.status}.` }));
  throw new Problem(wait && response.status === 429 ? { ...problem, expected: `another try in ${wait} seconds` } : problem);
}

async function call(path, options) {
  const response = await answered(path, options);
  return response.json().catch(() => {
    throw new Problem({ detail: "The service's answer was cut." });
  });
}

const posted = (body, more = {}) => ({
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify(body),
  ...more,
});

export const models = () => call("v1/models");
export const rescore = (body) => call("v1/rescore", posted(body));
export const evaluate = (body, signal) => call("v1/evaluate", posted(body, { signal }));

/** A file's text as lists: {format, lists, warnings}. The service tells the format. */
export function convert(text, beams) {
  const query = beams ? `?${new URLSearchParams({ beam_size: beams })}` : "";
  return call(`v1/convert${query}`, {
    method: "POST",
    headers: { "Content-Type": "text/plain; charset=utf-8" },
    body: text,
  });
}

/** The lines of a tuning as they come; the last one has `done`. Raises Problem where it ends without. */
export async function* tune(body, signal) {
  const response = await answered("v1/tune", posted(body, { signal }));
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Problem({ detail: "The service's answer was cut: the tuning did not end." });
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      const told = JSON.parse(line);
      yield told;
      if ("done" in told) return;
    }
  }
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
