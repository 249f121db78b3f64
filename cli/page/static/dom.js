// Elements, and numbers as text. What a model or a data set wrote only ever becomes a text node, never markup.

/** An element; `on…` attributes are listeners, `style` is an object of properties, children are nodes or texts. */
function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "style") for (const [key, part] of Object.entries(value)) node.style.setProperty(key, part);
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== undefined && child !== null && child !== false));
  return node;
}

const byId = (id) => document.getElementById(id);

/** What a section says while there is nothing to show: a sentence and the command that changes it. */
function empty(sentence, command) {
  return el("p", { class: "empty" }, `${sentence} `, el("code", {}, command), " fills this.");
}

/** A table: columns are texts, rows are arrays of texts, numbers or nodes; `kinds` are the rows' classes. */
function table(columns, rows, { label, kinds = [] } = {}) {
  const head = el(
    "tr",
    {},
    columns.map((column) => el("th", { scope: "col" }, column)),
  );
  const body = rows.map((row, i) =>
    el(
      "tr",
      { class: kinds[i] },
      row.map((cell) => el("td", {}, cell ?? "")),
    ),
  );
  return el(
    "div",
    { class: "table", role: "region", "aria-label": label, tabindex: 0 },
    el("table", {}, el("thead", {}, head), el("tbody", {}, body)),
  );
}

const WHOLE = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 0 });
const count = (n) => WHOLE.format(n ?? 0);
const compact = (n) =>
  n >= 1e6 ? `${(n / 1e6).toFixed(n >= 1e7 ? 0 : 1)} M` : n >= 1e4 ? `${(n / 1e3).toFixed(0)} k` : count(n);
const percent = (share, digits = 1) => (share === null ? "–" : `${(100 * share).toFixed(digits)} %`);
const plural = (n, word) => `${count(n)} ${word}${n === 1 ? "" : "s"}`;

/** A number with its sign, the minus as wide as the plus. */
function signed(x, digits = 2) {
  if (x === null || x === undefined) return "–";
  const text = Math.abs(x).toFixed(digits);
  return Number(text) === 0 ? (0).toFixed(digits) : (x < 0 ? "−" : "+") + text;
}

/** A probability; the smallest ones are only said to be small. */
function probability(p) {
  if (p === null || p === undefined) return "–";
  return p > 0 && p < 0.001 ? "<0.001" : p.toFixed(3);
}

function pValue(p) {
  return p < 0.001 ? "<0.001" : p.toFixed(p < 0.1 ? 3 : 2);
}

function duration(seconds) {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, "0")} s`;
  return `${Math.floor(whole / 3600)} h ${String(Math.floor((whole % 3600) / 60)).padStart(2, "0")} min`;
}

/** A step's text on one line, its line breaks seen. */
const oneLine = (text) => text.replaceAll("\r", "␍").replaceAll("\n", "⏎").replaceAll("\t", "⇥");

/** The words of a search, in small letters. */
const wordsOf = (text) => text.toLowerCase().split(/\s+/).filter(Boolean);

/** The colour of a Q in [-limit, limit], from bad over neutral to good. */
function qColour(q, limit) {
  const strength = q ? Math.round(30 + 70 * Math.min(1, Math.abs(q) / limit)) : 0;
  return `color-mix(in oklab, var(${q < 0 ? "--bad" : "--good"}) ${strength}%, var(--neutral))`;
}
