// Draws /openapi.json: every route, its fields, and examples as commands that can be pasted.

import { text } from "./view.js";

const quoted = (words) => `'${words.replaceAll("'", `'\\''`)}'`;
const origin = new URL(".", location.href).href.replace(/\/$/, "");

/** The command that posts one example. */
function curl(path, kind, value) {
  if (kind === undefined) return `curl -s ${origin}${path}`;
  const body = typeof value === "string" ? value : JSON.stringify(value, null, 1);
  return `curl -s ${origin}${path} -H 'Content-Type: ${kind}' --data-binary ${quoted(body)}`;
}

function example(title, command) {
  const box = document.createElement("div");
  const head = text("div", "row", "");
  const copy = text("button", "small", "Copy");
  copy.type = "button";
  copy.setAttribute("aria-label", `Copy: ${title}`);
  const block = text("pre", "", command);
  copy.addEventListener("click", async () => {
    // Over plain HTTP from another machine there is no clipboard: then the command is selected instead.
    if (navigator.clipboard) await navigator.clipboard.writeText(command);
    else getSelection().selectAllChildren(block);
    copy.textContent = navigator.clipboard ? "Copied" : "Selected";
  });
  head.append(text("h3", "", title), copy);
  box.append(head, block);
  return box;
}

function resolve(schema, document_) {
  const reference = schema.$ref ?? schema.anyOf?.find((part) => part.$ref)?.$ref;
  return reference ? document_.components.schemas[reference.split("/").at(-1)] : schema;
}

function fields(schema, document_, prefix = "", list = text("dl", "fields", "")) {
  const body = resolve(schema, document_);
  const required = new Set(body.required ?? []);
  for (const [name, field] of Object.entries(body.properties ?? {})) {
    const words = [required.has(name) ? "required" : "", field.description ?? ""].filter(Boolean).join(" · ");
    list.append(text("dt", "", prefix + name), text("dd", "", words));
    if (field.items) fields(field.items, document_, `${prefix}${name}[].`, list);
    else if (field.$ref ?? field.anyOf) fields(field, document_, `${prefix}${name}.`, list);
  }
  return list;
}

function route(path, verb, operation, document_) {
  const card = text("section", "card route", "");
  const title = text("h2", "", "");
  title.append(text("span", "verb", verb.toUpperCase()), ` ${path}`);
  card.append(title, text("p", "", operation.summary ?? ""), text("p", "hint", (operation.description ?? "").replaceAll("`", "")));
  const content = Object.entries(operation.requestBody?.content ?? {});
  if (!content.length) card.append(example("Try it", curl(path)));
  for (const [kind, { schema, examples }] of content) {
    if (kind === "application/json") card.append(fields(schema, document_));
    for (const { summary, value } of Object.values(examples ?? {}))
      card.append(example(summary, curl(path, kind, value)));
  }
  return card;
}

const main = document.getElementById("routes");
try {
  const document_ = await (await fetch("openapi.json")).json();
  const intro = text("section", "card", "");
  for (const paragraph of document_.info.description.split("\n\n")) intro.append(text("p", "", paragraph));
  const routes = Object.entries(document_.paths).flatMap(([path, verbs]) =>
    Object.entries(verbs).map(([verb, operation]) => route(path, verb, operation, document_)),
  );
  main.replaceChildren(intro, ...routes);
} catch (error) {
  main.replaceChildren(text("p", "card error", `The description cannot be shown: ${error.message}`));
}
