// The sample of a tree: its gold calls, its conversation, its tools.

function sampleView(tree) {
  const gold = new Set(tree.accepted.map((call) => call.name));
  return [
    el("h3", { class: "small" }, "Gold"),
    el("pre", { class: "response code" }, tree.target || "–"),
    acceptedView(tree.accepted),
    el("h3", { class: "small" }, "Conversation"),
    tree.messages.map((message) => el("p", { class: "message" }, el("b", {}, message.role), message.content)),
    el("h3", { class: "small" }, plural(tree.tools.length, "tool")),
    tree.tools.map((tool) => toolView(tool, gold.has(tool.name) || tree.target.includes(`${tool.name}(`))),
  ];
}

/** Where a benchmark accepts several values, those beside the gold one. */
function acceptedView(calls) {
  const several = calls.flatMap((call) =>
    Object.entries(call.arguments)
      .filter(([name, values]) => values.length > 1 || call.optional.includes(name))
      .map(([name, values]) => ({ name: `${call.name}.${name}`, values, optional: call.optional.includes(name) })),
  );
  if (!several.length) return null;
  return el(
    "details",
    { class: "tool" },
    el("summary", {}, "Also accepted"),
    el(
      "ul",
      {},
      several.map((entry) =>
        el(
          "li",
          {},
          el("code", {}, entry.name),
          ": ",
          el("code", {}, entry.values.map((value) => JSON.stringify(value)).join(", ")),
          entry.optional ? " or left out" : "",
        ),
      ),
    ),
  );
}

function toolView(tool, called) {
  const properties = Object.entries(tool.parameters?.properties ?? {});
  const required = new Set(tool.parameters?.required ?? []);
  const signature = properties.map(([name]) => (required.has(name) ? name : `${name}?`)).join(", ");
  return el(
    "details",
    { class: called ? "tool called" : "tool", open: called },
    el(
      "summary",
      {},
      el("code", {}, `${tool.name}(${signature})`),
      called ? " " : "",
      called && el("span", { class: "chip" }, "in the gold"),
    ),
    tool.description && el("p", {}, tool.description),
    el(
      "ul",
      {},
      properties.map(([name, schema]) =>
        el(
          "li",
          {},
          el("code", {}, name),
          " ",
          el("span", {}, [typeName(schema), required.has(name) ? "required" : null].filter(Boolean).join(", ")),
          schema?.description ? `: ${schema.description}` : "",
        ),
      ),
    ),
  );
}

function typeName(schema) {
  if (!schema || typeof schema !== "object") return "";
  const type = Array.isArray(schema.type) ? schema.type.join(" or ") : (schema.type ?? "");
  const choices = Array.isArray(schema.enum)
    ? ` of ${schema.enum.map((value) => JSON.stringify(value)).join(", ")}`
    : "";
  return `${type}${choices}`;
}
