// One tree: a map of its nodes, a table of its steps that opens and closes, and the selected step in full.

const POINT_DOWN = {
  draw: (context, size) => {
    const half = Math.sqrt(size / (3 * Math.sqrt(3)));
    context.moveTo(0, half * 2);
    context.lineTo(-Math.sqrt(3) * half, -half);
    context.lineTo(Math.sqrt(3) * half, -half);
    context.closePath();
  },
};
const broken = (kind) => (kind === "Other" ? "breaks nothing itself, but led astray" : `breaks: ${kind}`);
const isMarked = (node, ...kinds) => node.marks.some((mark) => kinds.includes(mark.kind));

class TreeView {
  /**
   * @param holder where the map and the table go.
   * @param inspector where the selected step goes.
   * @param weight of the self-evaluation in R (Eq. 6).
   */
  constructor(holder, inspector, weight) {
    this.holder = holder;
    this.inspector = inspector;
    this.weight = weight;
  }

  /** Show a tree and select a step of it, or its best first one. */
  show(tree, entry, path) {
    this.tree = tree;
    this.closed = new Set();
    this.rows = new Map();
    const facts = [
      entry.source,
      `round ${entry.round}`,
      `from ${entry.policy}`,
      tree.difficulty,
      tree.perplexity === null ? null : `perplexity ${tree.perplexity}`,
      plural(tree.nodes.length, "node"),
      plural(tree.pairs.length, "pair"),
      `${count(tree.decoded)} tokens`,
    ];
    const map = el("div", { class: "map" });
    this.holder.replaceChildren(
      el("p", { class: "tree-title" }, entry.title || entry.source),
      el("p", { class: "place" }, facts.filter(Boolean).join(" · ")),
      map,
      this.table(),
    );
    map.append(this.map(map.clientWidth || 600));
    const wanted = tree.nodes.find((node) => node.path === path);
    const best = tree.nodes.find((node) => node.marks.some((mark) => mark.kind === "chosen" || mark.kind === "best"));
    this.select(wanted ?? best ?? tree.nodes[1] ?? tree.root, false);
    if (wanted) this.rows.get(wanted).scrollIntoView({ block: "nearest" });
  }

  map(width) {
    const root = d3.hierarchy(this.tree.root);
    const leaves = root.leaves().length;
    const height = Math.max(70, Math.min(280, leaves * 12));
    d3
      .tree()
      .size([height, width - 40])
      .separation((a, b) => (a.parent === b.parent ? 1 : 1.6))(root);
    const svg = d3
      .create("svg")
      .attr("viewBox", [-16, -12, width, height + 24])
      .attr("height", height + 24)
      .attr("role", "img")
      .attr("aria-label", "Map of the tree; the table below holds its steps");
    const most = Math.max(1, this.tree.root.visits);
    const link = d3
      .linkHorizontal()
      .x((d) => d.y)
      .y((d) => d.x);
    this.links = svg
      .append("g")
      .selectAll("path")
      .data(root.links())
      .join("path")
      .attr("class", "link")
      .attr("d", link)
      .attr("stroke-width", (d) => 1 + 3.5 * Math.sqrt(d.target.data.visits / most));
    this.dots = svg
      .append("g")
      .selectAll("g")
      .data(root.descendants())
      .join("g")
      .attr("transform", (d) => `translate(${d.y},${d.x})`)
      .on("click", (event, d) => this.select(d.data, true));
    // Triangles up and down are the best and the worst of their siblings, as in the table.
    const sign = (node) =>
      isMarked(node, "best", "chosen")
        ? d3.symbolTriangle
        : isMarked(node, "worst", "rejected")
          ? POINT_DOWN
          : d3.symbolCircle;
    this.dots
      .append("path")
      .attr("class", "sign")
      .attr("d", (d) => d3.symbol(sign(d.data), 45 + 190 * (d.data.visits / most))())
      .style("--colour", (d) => qColour(d.data.q, this.tree.limit));
    this.dots
      .append("title")
      .text((d) => `${oneLine(d.data.text) || "start"}\nQ ${signed(d.data.q)}, N ${d.data.visits}`);
    return svg.node();
  }

  table() {
    const columns = [
      ["Step", "step"],
      ["Q", "q"],
      ["N", "number"],
      ["p", "number extra"],
      ["r", "number extra"],
      ["O", "number extra"],
    ];
    this.judged = this.tree.nodes.some((node) => node.selfEval !== null);
    if (this.judged) columns.push(["C", "number extra"]);
    const titles = {
      Q: "value of the step (Eq. 9)",
      N: "roll-outs through it",
      p: "prior: the policy’s probability among its siblings",
      r: "reward: R here minus R before",
      O: "outcome",
      C: "self-evaluation",
    };
    const body = el(
      "tbody",
      {},
      this.tree.nodes.map((node) => this.row(node)),
    );
    body.addEventListener("keydown", (event) => this.key(event));
    return el(
      "table",
      { class: "steps", role: "treegrid", "aria-label": "Steps of the tree" },
      el(
        "colgroup",
        {},
        columns.map(([, kind]) => el("col", { class: kind })),
      ),
      el(
        "thead",
        {},
        el(
          "tr",
          {},
          columns.map(([name, kind]) => el("th", { scope: "col", class: kind, title: titles[name] }, name)),
        ),
      ),
      body,
    );
  }

  row(node) {
    const long = (50 * Math.min(1, Math.abs(node.q) / this.tree.limit)).toFixed(1);
    const bar = el("i", {
      "aria-hidden": "true",
      style: {
        "--long": `${long}%`,
        "--from": node.q < 0 ? `${50 - long}%` : "50%",
        "--colour": qColour(node.q, this.tree.limit),
      },
    });
    const row = el(
      "tr",
      {
        role: "row",
        tabindex: -1,
        "aria-level": node.steps.length + 1,
        "aria-expanded": node.children.length ? "true" : null,
        style: { "--depth": String(node.steps.length) },
        onclick: (event) =>
          event.target.closest(".twist") && node.children.length ? this.toggle(node) : this.select(node, true),
      },
      el(
        "td",
        { class: "step", role: "gridcell" },
        el(
          "div",
          { class: "step-line" },
          el("span", { class: "twist", "aria-hidden": "true" }, node.children.length ? "▾" : ""),
          el("span", { class: "code" }, node.parent ? oneLine(node.text) : "start"),
          ...this.chips(node),
        ),
      ),
      el("td", { role: "gridcell" }, el("div", { class: "q-bar" }, bar, signed(node.q))),
      el("td", { role: "gridcell" }, count(node.visits)),
      ...[
        probability(node.parent ? node.prior : null),
        signed(node.reward),
        signed(node.outcome),
        ...(this.judged ? [signed(node.selfEval)] : []),
      ].map((text) => el("td", { role: "gridcell", class: "extra" }, text)),
    );
    this.rows.set(node, row);
    return row;
  }

  chips(node) {
    // On a phone the signs alone have room.
    const chip = (kind, sign, word, title) =>
      el("span", { class: `chip ${kind}`, title }, sign, el("span", { class: "word" }, ` ${word}`));
    const kinds = new Map(node.marks.map((mark) => [mark.kind, mark.pair]));
    const chips = [];
    if (kinds.has("chosen")) chips.push(chip("solid good", "▲", "chosen"));
    else if (kinds.has("best")) chips.push(chip("good", "▲", "best"));
    if (kinds.has("rejected")) chips.push(chip("solid bad", "▼", "rejected", broken(kinds.get("rejected").class)));
    else if (kinds.has("worst")) chips.push(chip("bad", "▼", "worst"));
    if (node.terminal)
      chips.push(
        node.outcome === 1
          ? el("span", { class: "end right", title: "ends here, right" }, "✓")
          : el("span", { class: "end", title: "ends here, not right" }, "✗"),
      );
    return chips;
  }

  select(node, focus) {
    this.selected = node;
    for (const [other, row] of this.rows) {
      row.setAttribute("aria-selected", String(other === node));
      row.tabIndex = other === node ? 0 : -1;
    }
    const above = new Set();
    for (let at = node; at; at = at.parent) above.add(at);
    this.dots.classed("selected", (d) => d.data === node);
    this.links.classed("to-selected", (d) => above.has(d.target.data));
    if (focus) {
      for (const at of above) if (at !== node && this.closed.has(at)) this.toggle(at);
      this.rows.get(node).focus({ preventScroll: true });
      this.rows.get(node).scrollIntoView({ block: "nearest" });
    }
    this.inspector.replaceChildren(...this.details(node));
  }

  toggle(node) {
    if (!this.closed.delete(node)) this.closed.add(node);
    const row = this.rows.get(node);
    row.setAttribute("aria-expanded", String(!this.closed.has(node)));
    row.querySelector(".twist").textContent = this.closed.has(node) ? "▸" : "▾";
    for (const [other, line] of this.rows) line.hidden = this.isInside(other);
    if (this.rows.get(this.selected).hidden) this.select(node, true);
  }

  /** Whether a node is below a closed one. */
  isInside(node) {
    for (let at = node.parent; at; at = at.parent) if (this.closed.has(at)) return true;
    return false;
  }

  key(event) {
    const seen = this.tree.nodes.filter((node) => !this.isInside(node));
    const at = seen.indexOf(this.selected);
    const node = this.selected;
    const open = node.children.length && !this.closed.has(node);
    const moves = {
      ArrowDown: () => seen[at + 1],
      ArrowUp: () => seen[at - 1],
      Home: () => seen[0],
      End: () => seen.at(-1),
      ArrowRight: () => (open ? node.children[0] : node.children.length && this.toggle(node)),
      ArrowLeft: () => (open ? this.toggle(node) : node.parent),
    };
    if (!(event.key in moves)) return;
    event.preventDefault();
    const next = moves[event.key]();
    if (next) this.select(next, true);
  }

  details(node) {
    const before = [];
    for (let at = node.parent; at; at = at.parent) before.unshift(at.text);
    const state = node.selfEval === null ? node.outcome : node.outcome + this.weight * node.selfEval;
    const figures = [
      ["Q", signed(node.q), "value of the step (Eq. 9)"],
      ["V", signed(node.v), "value of the state it leads to (Eq. 8)"],
      ["N", count(node.visits), "roll-outs through it"],
      ["prior p", probability(node.parent ? node.prior : null), "the policy’s probability among the siblings"],
      ["log p", signed(node.parent ? node.logprob : null), "the policy’s log-probability of the step’s tokens"],
      ["reward r", signed(node.reward), "R here minus R before"],
      ["outcome O", signed(node.outcome), "from the gold calls"],
      ["self-eval. C", signed(node.selfEval), "from the judge (Eq. 7)"],
      [
        this.weight === 1 ? "R = O + C" : this.weight ? `R = O + ${this.weight} C` : "R = O",
        signed(state),
        "worth of the state (Eq. 6)",
      ],
    ];
    return [
      el("h3", { class: "small" }, node.parent ? "Response so far" : "Before the first step"),
      el(
        "pre",
        { class: "response code" },
        el("span", { class: "before" }, before.join("")),
        el("span", { class: "here" }, node.text),
      ),
      el(
        "dl",
        { class: "figures" },
        figures.map(([name, value, meaning]) => el("div", { title: meaning }, el("dt", {}, name), el("dd", {}, value))),
      ),
      this.story(node),
    ];
  }

  /** What became of a step, in words. */
  story(node) {
    const parts = node.marks.flatMap((mark) => {
      if (mark.kind === "chosen") return ["It is the chosen step of a pair."];
      if (mark.kind === "rejected") return [`It is the rejected step of a pair and ${broken(mark.pair.class)}.`];
      if (node.marks.some((other) => other.pair)) return [];
      return [`It is the ${mark.kind} of its siblings; the filters kept no pair of it.`];
    });
    if (node.terminal)
      parts.push(
        node.outcome === 1 ? "The response ends here, and is right." : "The response ends here, and is not right.",
      );
    return parts.length ? el("p", { class: "note" }, parts.join(" ")) : null;
  }
}
