// @ts-check
/** From the OpenAPI document to what is shown of each call. Functions of their arguments; the document is the node's own. */

/** @typedef {{name: string, place: string, required: boolean, description: string, schema: any, example: string}} Parameter */
/** @typedef {{type: string, example: any, name: string}} Body */
/** @typedef {{method: string, path: string, group: string, summary: string, description: string, parameters: Parameter[], bodies: Body[],
 *   answers: {status: string, description: string}[]}} Call */

const METHODS = ["get", "post", "put", "patch", "delete"];
const DEPTH_MAX = 6;

/** Whatever a `$ref` leads to. @param {any} document @param {any} node @returns {any} */
function resolved(document, node) {
  for (let step = 0; step < DEPTH_MAX && node && typeof node.$ref === "string"; step += 1) {
    const names = node.$ref.replace(/^#\//, "").split("/").map((/** @type {string} */ name) => name.replaceAll("~1", "/").replaceAll("~0", "~"));
    node = names.reduce((/** @type {any} */ inner, /** @type {string} */ name) => inner?.[name], document);
  }
  return node ?? {};
}

/** @param {any} document @returns {Call[]} */
export function callsOf(document) {
  const found = [];
  for (const [path, item] of Object.entries(document.paths ?? {})) {
    for (const method of METHODS) {
      const operation = item[method];
      if (!operation) continue;
      found.push({
        method: method.toUpperCase(),
        path,
        group: operation.tags?.[0] ?? "Calls",
        summary: operation.summary ?? "",
        description: operation.description ?? "",
        parameters: [...(item.parameters ?? []), ...(operation.parameters ?? [])].map((one) => parameterOf(document, resolved(document, one))),
        bodies: bodiesOf(document, resolved(document, operation.requestBody)),
        answers: Object.entries(operation.responses ?? {}).map(([status, answer]) => ({ status, description: resolved(document, answer).description ?? "" })),
      });
    }
  }
  return found;
}

/** In the order in which the groups first come. @param {Call[]} calls @returns {Map<string, Call[]>} */
export function grouped(calls) {
  /** @type {Map<string, Call[]>} */
  const groups = new Map();
  for (const call of calls) groups.set(call.group, [...(groups.get(call.group) ?? []), call]);
  return groups;
}

/** @param {any} document @param {any} parameter @returns {Parameter} */
function parameterOf(document, parameter) {
  const schema = resolved(document, parameter.schema);
  const example = parameter.example ?? firstOf(document, parameter.examples) ?? schema.examples?.[0] ?? schema.example;
  return {
    name: parameter.name,
    place: parameter.in,
    required: Boolean(parameter.required),
    description: parameter.description ?? schema.description ?? "",
    schema,
    example: example === undefined ? "" : String(example),
  };
}

/** @param {any} document @param {any} body @returns {Body[]} */
function bodiesOf(document, body) {
  return Object.entries(body.content ?? {}).flatMap(([type, media]) => {
    const named = Object.entries(media.examples ?? {}).map(([name, one]) => ({ type, name, example: resolved(document, one).value }));
    if (named.length) return named;
    return [{ type, name: "", example: media.example ?? exampleOf(document, media.schema) }];
  });
}

/** @param {any} document @param {any} examples */
function firstOf(document, examples) {
  const [first] = Object.values(examples ?? {});
  return first === undefined ? undefined : resolved(document, first).value;
}

/** What a value of this schema may look like; only what must be there. @param {any} document @param {any} given @param {number} [depth] @returns {any} */
function exampleOf(document, given, depth = 0) {
  const schema = resolved(document, given);
  if (schema.example !== undefined) return schema.example;
  if (schema.examples?.length) return schema.examples[0];
  if (schema.default !== undefined) return schema.default;
  if (schema.enum) return schema.enum[0];
  const [choice] = schema.oneOf ?? schema.anyOf ?? [];
  if (depth > DEPTH_MAX) return null;
  if (choice) return exampleOf(document, choice, depth + 1);
  const type = Array.isArray(schema.type) ? schema.type[0] : schema.type;
  if (type === "object" || schema.properties) {
    const names = schema.required ?? Object.keys(schema.properties ?? {});
    return Object.fromEntries(names.map((/** @type {string} */ name) => [name, exampleOf(document, schema.properties?.[name], depth + 1)]));
  }
  if (type === "array") return schema.items ? [exampleOf(document, schema.items, depth + 1)] : [];
  return { integer: 1, number: 1.5, boolean: true, string: "text" }[/** @type {string} */ (type)] ?? null;
}

/** The type in a word or two. @param {any} schema */
export function typeOf(schema) {
  const type = Array.isArray(schema.type) ? schema.type.join(" or ") : schema.type ?? "";
  const values = schema.enum ? schema.enum.join(", ") : "";
  const usual = schema.default === undefined ? "" : `, else ${schema.default}`;
  return (values || type) + usual;
}
