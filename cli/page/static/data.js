// The data that the page carries: small parts are read at once, large ones unpacked when they are first needed.

const read = (id) => JSON.parse(byId(id).textContent);
const unpacked = new Map();

/** A packed part: a promise of its value, the same one each time. */
function unpack(id) {
  if (!unpacked.has(id)) unpacked.set(id, inflate(byId(id).textContent));
  return unpacked.get(id);
}

async function inflate(base64) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

/** The fields of a node, in the order in which `trees.py` writes them. */
const NODE_FIELDS = [
  "path",
  "text",
  "logprob",
  "prior",
  "visits",
  "q",
  "v",
  "reward",
  "outcome",
  "selfEval",
  "terminal",
];

/** A node's depth-first order: paths as lists of numbers, parents before children. */
function byPath(a, b) {
  const [left, right] = [a.steps, b.steps];
  for (let i = 0; i < Math.min(left.length, right.length); i++) if (left[i] !== right[i]) return left[i] - right[i];
  return left.length - right.length;
}

/** A tree with its nodes as linked objects, the root first. */
function openTree(stored) {
  const nodes = stored.nodes.map((values) => {
    const node = Object.fromEntries(NODE_FIELDS.map((name, i) => [name, values[i]]));
    return { ...node, steps: node.path ? node.path.split(".").map(Number) : [], children: [], parent: null, marks: [] };
  });
  nodes.sort(byPath);
  const found = new Map(nodes.map((node) => [node.path, node]));
  for (const node of nodes) {
    if (!node.steps.length) continue;
    node.parent = found.get(node.steps.slice(0, -1).join("."));
    node.parent.children.push(node);
  }
  for (const node of nodes) markExtremes(node.children);
  for (const pair of stored.pairs) {
    found.get(pair.chosen).marks.push({ kind: "chosen", pair });
    found.get(pair.rejected).marks.push({ kind: "rejected", pair });
  }
  return { ...stored, nodes, root: nodes[0], limit: Math.max(1, ...nodes.map((node) => Math.abs(node.q))) };
}

/** Mark the best and the worst of siblings, the first of equals, unless all are equal. */
function markExtremes(siblings) {
  if (siblings.length < 2) return;
  const best = siblings.reduce((top, node) => (node.q > top.q ? node : top));
  const worst = siblings.reduce((bottom, node) => (node.q < bottom.q ? node : bottom));
  if (best === worst) return;
  best.marks.push({ kind: "best" });
  worst.marks.push({ kind: "worst" });
}
