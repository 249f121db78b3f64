// The tree explorer: the list of trees with its filters, and the tree that is open.

const NO_PAIR = "no pair";

class Explorer {
  constructor(index, overview) {
    this.entries = index.trees;
    this.chunk = index.chunk;
    this.view = new TreeView(byId("tree-view"), byId("node-view"), overview.rewardWeight);
    this.buttons = this.entries.map((entry, place) => this.button(entry, place));
    this.items = this.buttons.map((button) => el("li", {}, button));
    byId("tree-list").append(...this.items);
    this.shown = this.entries.map((_, place) => place);
    this.texts = null;
    this.fillFilters();
    this.listen();
    byId("explorer").hidden = false;
    this.filter();
  }

  button(entry, place) {
    const meta = [
      entry.deltaQ === null ? NO_PAIR : `ΔQ ${entry.deltaQ.toFixed(2)}`,
      entry.pairs ? plural(entry.pairs, "pair") : null,
      plural(entry.nodes, "node"),
      entry.right ? "✓" : null,
    ];
    return el(
      "button",
      { type: "button", onclick: () => this.choose(place) },
      el("span", { class: "title" }, entry.title || entry.source),
      el(
        "span",
        { class: "meta", title: entry.right ? "A right response was found" : null },
        meta.filter(Boolean).join(" · "),
      ),
      entry.classes.length ? el("span", { class: "meta" }, entry.classes.join(", ")) : null,
    );
  }

  fillFilters() {
    const counts = d3.rollup(
      this.entries.flatMap((entry) => (entry.classes.length ? entry.classes : [NO_PAIR])),
      (all) => all.length,
      (kind) => kind,
    );
    const kinds = [...counts].sort((a, b) => (a[0] === NO_PAIR) - (b[0] === NO_PAIR) || b[1] - a[1]);
    byId("tree-class").append(
      el("option", { value: "" }, "anything"),
      ...kinds.map(([kind, n]) => el("option", { value: kind }, `${kind} (${n})`)),
    );
    const rounds = [...new Set(this.entries.map((entry) => entry.round))].sort((a, b) => a - b);
    byId("tree-round").append(
      el("option", { value: "" }, "all"),
      ...rounds.map((round) => el("option", { value: round }, round)),
    );
    byId("tree-round-label").hidden = rounds.length < 2;
  }

  listen() {
    for (const id of ["tree-search", "tree-class", "tree-round", "tree-delta"])
      byId(id).addEventListener("input", () => this.filter());
    document.querySelector("#trees form").addEventListener("submit", (event) => event.preventDefault());
    byId("tree-previous").addEventListener("click", () => this.step(-1));
    byId("tree-next").addEventListener("click", () => this.step(1));
    byId("explorer").addEventListener("keydown", (event) => this.key(event));
  }

  /** Letters move only where they are not typed. */
  key(event) {
    if (event.target.matches("input, select") || event.ctrlKey || event.metaKey || event.altKey) return;
    const actions = { j: () => this.step(1), k: () => this.step(-1), "/": () => byId("tree-search").focus() };
    if (!(event.key in actions)) return;
    event.preventDefault();
    actions[event.key]();
  }

  /** The texts of all trees in small letters; unpacked at the first search. */
  async allTexts() {
    const chunks = await Promise.all(
      d3.range(0, this.entries.length, this.chunk).map((start) => unpack(`trees-${start / this.chunk}`)),
    );
    return chunks.flat().map((tree, place) => {
      const entry = this.entries[place];
      return [entry.id, entry.source, entry.title, tree.target, ...tree.nodes.map((node) => node[1])]
        .join("\n")
        .toLowerCase();
    });
  }

  async filter() {
    const typed = byId("tree-search").value;
    const words = wordsOf(typed);
    if (words.length && !this.texts) this.texts = await this.allTexts();
    // What was typed during the wait has a call of its own.
    if (typed !== byId("tree-search").value) return;
    const [kind, round, delta] = [byId("tree-class").value, byId("tree-round").value, Number(byId("tree-delta").value)];
    const fits = (entry, place) =>
      (!kind || (entry.classes.length ? entry.classes.includes(kind) : kind === NO_PAIR)) &&
      (!round || entry.round === Number(round)) &&
      (!delta || (entry.deltaQ ?? -1) >= delta) &&
      words.every((word) => this.texts[place].includes(word));
    this.shown = this.entries.map((_, place) => place).filter((place) => fits(this.entries[place], place));
    const kept = new Set(this.shown);
    this.items.forEach((item, place) => {
      item.hidden = !kept.has(place);
    });
    byId("tree-count").textContent = `${plural(this.shown.length, "tree")} of ${count(this.entries.length)}`;
    this.place();
  }

  step(by) {
    const at = this.shown.indexOf(this.current);
    const next = at < 0 ? this.shown[0] : this.shown[at + by];
    if (next !== undefined) this.choose(next);
  }

  /** Open a tree that the reader chose, and make its address the page's. */
  choose(place) {
    history.replaceState(null, "", `#tree-${this.entries[place].id}`);
    return this.open(place);
  }

  place() {
    const at = this.shown.indexOf(this.current);
    byId("tree-place").textContent = at < 0 ? "" : `tree ${count(at + 1)} of ${count(this.shown.length)}`;
    byId("tree-previous").disabled = at <= 0;
    byId("tree-next").disabled = !this.shown.length || at === this.shown.length - 1;
  }

  /** Open a tree by its place in the index, at a step if one is given. */
  async open(place, path) {
    this.buttons[this.current]?.removeAttribute("aria-current");
    this.current = place;
    this.buttons[place].setAttribute("aria-current", "true");
    // Not scrollIntoView, which would move the page too.
    const [list, item] = [byId("tree-list"), this.items[place]];
    const above = item.offsetTop - list.offsetTop;
    if (above < list.scrollTop || above + item.offsetHeight > list.scrollTop + list.clientHeight)
      list.scrollTop = above - 40;
    this.place();
    const chunk = await unpack(`trees-${Math.floor(place / this.chunk)}`);
    if (this.current !== place) return;
    const tree = openTree(chunk[place % this.chunk]);
    this.view.show(tree, this.entries[place], path);
    byId("sample-view").replaceChildren(...sampleView(tree).flat().filter(Boolean));
    byId("explorer").dataset.tree = this.entries[place].id;
  }

  /** The place of a tree by its id, or -1. */
  find(id) {
    return this.entries.findIndex((entry) => entry.id === id);
  }
}
