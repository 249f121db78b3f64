// The pairs: how many are proved; filtered by what the rejected step breaks, ΔQ and text, with the differing fragments
// marked.

const PAIRS_AT_ONCE = 40;

/** What the gold calls say of each round's pairs. */
function proofTable(proofs) {
  const rows = proofs.map((round) => [
    `round ${round.round}`,
    count(round.pairs),
    count(round.proved),
    percent(round.proved / round.pairs),
    count(round.broken_before),
    count(round.chosen_wrong),
    count(round.rejected_right),
  ]);
  const columns = [
    "",
    "pairs",
    "proved",
    "%",
    "the response was broken before",
    "the chosen step is wrong itself",
    "the rejected step breaks nothing",
  ];
  return el("div", { class: "panel" }, table(columns, rows, { label: "Pairs by what is proved of them" }));
}

class PairBrowser {
  /** @param open called with a tree's place and a path when the reader wants to see a pair's tree. */
  constructor(holder, pairs, entries, open) {
    // Along a right response ΔQ is the same for all: there the more probable wrong step comes first.
    this.pairs = pairs.toSorted(
      (a, b) => b.qChosen - b.qRejected - (a.qChosen - a.qRejected) || b.pRejected - a.pRejected,
    );
    this.entries = entries;
    this.open = open;
    this.kind = "";
    this.texts = this.pairs.map((pair) =>
      [pair.prefix, textOf(pair.chosen), "\n", textOf(pair.rejected)].join("").toLowerCase(),
    );
    this.list = el("ol", { class: "pair-list", "aria-label": "Pairs" });
    this.status = el("p", { class: "count", role: "status" });
    this.more = el("button", { type: "button", class: "more", onclick: () => this.grow() }, "Show more");
    this.search = el("input", {
      type: "search",
      placeholder: "Search steps",
      autocomplete: "off",
      oninput: () => this.filter(),
    });
    this.delta = el("input", {
      type: "number",
      min: 0,
      step: 0.1,
      value: 0,
      inputmode: "decimal",
      oninput: () => this.filter(),
    });
    holder.append(
      this.facets(),
      el(
        "form",
        { class: "filters", role: "search", "aria-label": "Find pairs", onsubmit: (event) => event.preventDefault() },
        el("label", { class: "search" }, el("span", { class: "unseen" }, "Search pairs"), this.search),
        el("label", {}, "ΔQ at least ", this.delta),
      ),
      this.status,
      this.list,
      this.more,
    );
    this.filter();
  }

  facets() {
    const counts = d3
      .rollups(
        this.pairs,
        (all) => all.length,
        (pair) => pair.class,
      )
      .sort((a, b) => b[1] - a[1]);
    const buttons = [["", this.pairs.length], ...counts].map(([kind, n]) =>
      el(
        "button",
        {
          type: "button",
          "aria-pressed": String(kind === ""),
          onclick: (event) => {
            this.kind = kind;
            for (const button of buttons) button.setAttribute("aria-pressed", String(button === event.currentTarget));
            this.filter();
          },
        },
        kind || "All",
        el("small", {}, count(n)),
      ),
    );
    return el(
      "div",
      { class: "facets", role: "group", "aria-label": "What the rejected step breaks" },
      el("span", {}, "The rejected step breaks"),
      buttons,
    );
  }

  filter() {
    const words = wordsOf(this.search.value);
    const least = Number(this.delta.value);
    this.shown = this.pairs.filter(
      (pair, i) =>
        (!this.kind || pair.class === this.kind) &&
        pair.qChosen - pair.qRejected >= least &&
        words.every((word) => this.texts[i].includes(word)),
    );
    this.list.replaceChildren();
    this.drawn = 0;
    this.status.textContent = `${plural(this.shown.length, "pair")} of ${count(this.pairs.length)}, the largest ΔQ first`;
    this.grow();
  }

  grow() {
    const next = this.shown.slice(this.drawn, this.drawn + PAIRS_AT_ONCE);
    this.list.append(...next.map((pair) => this.card(pair)));
    this.drawn += next.length;
    this.more.hidden = this.drawn >= this.shown.length;
  }

  card(pair) {
    const entry = this.entries[pair.tree];
    const side = (kind, sign, q, pieces) =>
      el(
        "div",
        { class: `side ${kind}` },
        el("span", { class: "who" }, `${sign} ${kind} ${signed(q)}`),
        el(
          "pre",
          { class: "code" },
          el("span", { class: "before" }, tail(pair.prefix)),
          pieces.map(([text, differs]) => (differs ? el("mark", {}, text) : text)),
        ),
      );
    return el(
      "li",
      { class: "pair" },
      el(
        "header",
        {},
        el("span", { class: "chip", title: broken(pair.class) }, pair.class),
        el("span", {}, pair.proved ? "proved" : "not proved"),
        el("span", {}, `ΔQ ${(pair.qChosen - pair.qRejected).toFixed(2)}`),
        el("span", {}, `rejected p ${probability(pair.pRejected)}`),
        el("span", {}, `similarity ${pair.similarity.toFixed(2)}`),
        el("span", {}, `round ${pair.round}`),
        el(
          "a",
          {
            href: `#tree-${entry.id}`,
            onclick: (event) => {
              event.preventDefault();
              this.open(pair.tree, pair.path);
            },
          },
          "Show in its tree",
        ),
      ),
      side("chosen", "▲", pair.qChosen, pair.chosen),
      side("rejected", "▼", pair.qRejected, pair.rejected),
    );
  }
}

/** A step's text from its pieces, each with whether it differs from the other step's. */
const textOf = (pieces) => pieces.map(([text]) => text).join("");

/** The end of a long prefix. */
const tail = (prefix) => (prefix.length > 160 ? `…${prefix.slice(-160)}` : prefix);
