// Draws /openapi.json: every route, its fields, and examples as commands that can be pasted.

import { withKey } from "./api.js";
import { key } from "./key.js";
import { copies, text } from "./view.js";

const quoted = (words) => `'${words.replaceAll("'", `'\\''`)}'`;
const origin = new URL(".", location.href).href.replace(/\/$/, "");

/** The command that sends one example; the key, where there is one, from the shell's variable. */
function curl(template, verb, kind, value, query) {
  const path = template.replace("{name}", "NAME");
  const start = key() ? 'curl -s -H "Authorization: Bearer $NBEST_KEY"' : "curl -s";
  const how = verb === (kind ? "post" : "get") ? start : `${start} -X ${verb.toUpperCase()}`;
  if (kind === undefined) return `${how} ${origin}${path}`;
  const body = typeof value === "string" ? value : JSON.stringify(value, null, 1);
  const address = query ? quoted(`${origin}${path}?${query}`) : `${origin}${path}`;
  return `${how} ${address} -H 'Content-Type: ${kind}' --data-binary ${quoted(body)}`;
}

function example(title, command) {
  const box = document.createElement("div");
  const head = text("div", "row", "");
  const copy = text("button", "small", "Copy");
  copy.type = "button";
  copy.setAttribute("aria-label", `Copy: ${title}`);
  const block = text("pre", "", command);
  copies(copy, () => command, block);
  head.append(text("h3", "", title), copy);
  box.append(head, block);
  return box;
}

/** What a schema says for itself, references followed. */
function resolve(schema, document_) {
  return schema.$ref ? document_.components.schemas[schema.$ref.split("/").at(-1)] : schema;
}

const LIMITS = {
  minimum: (n) => `at least ${n}`,
  exclusiveMinimum: (n) => `more than ${n}`,
  maximum: (n) => `at most ${n}`,
  minLength: (n) => (n === 1 ? "not empty" : `at least ${n} long`),
  maxLength: (n) => `at most ${n} long`,
  minItems: (n) => `${n} or more entries`,
  maxItems: (n) => `at most ${n} entries`,
  minProperties: (n) => `${n} or more names`,
  maxProperties: (n) => `at most ${n} names`,
};

/** A schema's type, choices and limits in words. */
function typeWords(schema, document_) {
  const parts = (schema.anyOf ?? []).filter(({ type }) => type !== "null");
  const limits = Object.entries(LIMITS).flatMap(([key, words]) => (key in schema ? [words(schema[key])] : []));
  let words = resolve(schema, document_).type ?? "any";
  if (parts.length) words = [...new Set(parts.map((part) => typeWords(part, document_)))].join(" or ");
  else if (schema.const !== undefined) words = JSON.stringify(schema.const);
  else if (schema.enum) words = schema.enum.map((choice) => JSON.stringify(choice)).join(" or ");
  else if (schema.prefixItems)
    words = `array of ${schema.prefixItems.length}: ${schema.prefixItems.map((part) => typeWords(part, document_)).join(", ")}`;
  else if (schema.type === "array") words = `array of ${typeWords(schema.items ?? {}, document_)}`;
  else if (typeof schema.additionalProperties === "object")
    words = `object of ${typeWords(schema.additionalProperties, document_)}`;
  if (schema.prefixItems) return words;
  return [words, ...limits].join(", ");
}

/** Schemas with fields of their own inside `schema`, each with what is added to the name. */
function inner(schema, document_) {
  if (schema.$ref) return [["", resolve(schema, document_)]];
  const arrays = schema.items ? inner(schema.items, document_).map(([name, found]) => [`[]${name}`, found]) : [];
  const values = schema.additionalProperties;
  const named = values && typeof values === "object" ? inner(values, document_) : [];
  return [
    ...arrays,
    ...named.map(([name, found]) => [`{}${name}`, found]),
    ...(schema.anyOf ?? []).flatMap((part) => inner(part, document_)),
  ];
}

function row(name, type, words) {
  const box = document.createElement("div");
  box.append(text("dt", "", name));
  if (type) box.append(text("dd", "type", type));
  if (words) box.append(text("dd", "words", words));
  return box;
}

/** Rows of a schema's fields and theirs; `always` is what is said of one that is always there. */
function fields(body, document_, always, prefix = "", list = text("dl", "fields", "")) {
  const required = new Set(body.required ?? []);
  for (const [name, field] of Object.entries(body.properties ?? {})) {
    const fallback = field.default;
    const plain = fallback !== undefined && fallback !== null && typeof fallback !== "object";
    const words = [
      required.has(name) ? always : "",
      (field.description ?? "").replaceAll("`", ""),
      plain ? `default ${JSON.stringify(fallback)}` : "",
    ];
    list.append(row(prefix + name, typeWords(field, document_), words.filter(Boolean).join(" · ")));
    for (const [more, found] of inner(field, document_))
      if (found.properties) fields(found, document_, always, `${prefix}${name}${more}.`, list);
  }
  return list;
}

function folded(title, content) {
  const box = document.createElement("details");
  box.append(text("summary", "", title), content);
  return box;
}

function route(path, verb, operation, document_) {
  const card = text("section", "card route", "");
  const title = text("h2", "", "");
  title.append(text("span", "verb", verb.toUpperCase()), ` ${path}`);
  card.append(title, text("p", "", operation.summary ?? ""), text("p", "hint", (operation.description ?? "").replaceAll("`", "")));
  const content = Object.entries(operation.requestBody?.content ?? {});
  for (const [kind, { schema }] of content)
    if (kind === "application/json")
      card.append(text("h3", "", "Request"), fields(resolve(schema, document_), document_, "required"));
  for (const [place, heading, sign] of [["path", "Path", ""], ["query", "Query", "?"], ["header", "Headers", ""]]) {
    const found = (operation.parameters ?? []).filter((one) => one.in === place);
    const list = text("dl", "fields", "");
    for (const { name, schema, description } of found)
      list.append(row(sign + name, typeWords(schema, document_), description));
    if (found.length) card.append(text("h3", "", heading), list);
  }
  const { 200: good, ...bad } = operation.responses ?? {};
  const answer = good?.content?.["application/json"]?.schema;
  if (answer) card.append(folded("Answer", fields(resolve(answer, document_), document_, "")));
  if (Object.keys(bad).length) {
    const list = text("dl", "fields", "");
    for (const [status, { description }] of Object.entries(bad)) list.append(row(status, "", description));
    card.append(folded("Errors", list));
  }
  if (!content.length) card.append(example("Try it", curl(path, verb)));
  for (const [kind, { examples }] of content)
    for (const { summary, value, "x-query": query } of Object.values(examples ?? {}))
      card.append(example(summary, curl(path, verb, kind, value, query)));
  return card;
}

async function described() {
  const answer = await withKey("openapi.json");
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.detail);
  return found;
}

const main = document.getElementById("routes");
try {
  const document_ = await described();
  const intro = text("section", "card", "");
  for (const paragraph of document_.info.description.split("\n\n")) intro.append(text("p", "", paragraph.replaceAll("`", "")));
  const routes = Object.entries(document_.paths).flatMap(([path, verbs]) =>
    Object.entries(verbs).map(([verb, operation]) => route(path, verb, operation, document_)),
  );
  main.replaceChildren(intro, ...routes);
} catch (error) {
  main.replaceChildren(text("p", "card error", `The description cannot be shown: ${error.message}`));
}
