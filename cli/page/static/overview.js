// The first screen: what the run came to, in a sentence and a few numbers.

function showOverview(overview, benchmarks, cost) {
  byId("run-name").textContent = overview.name;
  const when = overview.changed && new Date(overview.changed);
  byId("run-base").textContent = [
    overview.base,
    overview.sources.map((source) => `${source.name} (${plural(source.n, "sample")})`).join(", "),
    when && when.toLocaleDateString("en-GB", { day: "numeric", month: "long", year: "numeric" }),
  ]
    .filter(Boolean)
    .join(" · ");
  byId("verdict").textContent = verdict(overview, benchmarks);
  byId("tiles").append(...tiles(overview, benchmarks, cost));
  byId("details").append(
    overview.counts.rejects ? asideDetails(overview) : "",
    el("details", {}, el("summary", {}, "Settings of the run"), el("pre", { tabindex: 0 }, overview.settings)),
  );
}

/** The newest policy's overall score, and its change against the one it is held against. */
function headline(benchmark) {
  const [all] = benchmark.rows;
  const last = benchmark.policies.length - 1;
  return { score: all.scores[last], change: all.changes[last], label: benchmark.policies[last].label };
}

function verdict(overview, benchmarks) {
  const counts = overview.counts;
  const found = counts.trees
    ? `The search of ${plural(counts.trees, "sample")} found ${plural(counts.pairs, "step pair")}.`
    : "Nothing was searched yet.";
  if (!benchmarks.length) return `${found} No policy was evaluated yet.`;
  const [benchmark] = benchmarks;
  const { score, change, label } = headline(benchmark);
  if (!change)
    return `${found} On ${benchmark.name}, ${label} gets ${percent(score.value)} of ${plural(score.n, "item")} right.`;
  const moved = `On ${benchmark.name}, ${label} gets ${percent(change.after)} right, ${benchmark.reference} ${percent(change.before)}`;
  const items = `of ${plural(change.n, "item")} that both answered, ${count(change.fixed)} fixed and ${count(change.broken)} broken`;
  if (change.p >= 0.05) return `${found} ${moved}: ${items}, no difference that so many items can show.`;
  return `${found} ${moved}: ${items}, ${change.difference > 0 ? "better" : "worse"} beyond chance (p ${pValue(change.p)}).`;
}

function tiles(overview, benchmarks, cost) {
  const counts = overview.counts;
  const tile = (label, figures, below, wide) =>
    el(
      "div",
      { class: wide ? "tile wide" : "tile" },
      el("div", { class: "label" }, label),
      el("div", { class: "figure" }, figures),
      el("div", { class: "below" }, below),
    );
  const decoded = d3.sum(cost.searches, (search) => search.decoded);
  const seconds = d3.sum(cost.stages, (stage) => stage.seconds);
  return [
    ...benchmarks.slice(0, 2).map((benchmark) => {
      const { score, change, label } = headline(benchmark);
      const figures = change
        ? [el("small", {}, `${percent(change.before)} → `), percent(change.after)]
        : percent(score.value);
      const below = change
        ? `change ${signed(100 * change.difference, 1)}, 95 %: ${signed(100 * change.low, 1)} to ${signed(100 * change.high, 1)}, n ${count(change.n)}`
        : `95 %: ${percent(score.low)} to ${percent(score.high)}, n ${count(score.n)}`;
      return tile(
        change ? `${benchmark.name}, ${benchmark.reference} → ${label}` : `${benchmark.name}, ${label}`,
        figures,
        below,
        true,
      );
    }),
    tile(
      "pairs",
      count(counts.pairs),
      counts.pairs ? `${percent(counts.proved / counts.pairs, 0)} proved` : counts.trees ? "none kept" : "none mined",
    ),
    tile("trees", count(counts.trees), `${count(counts.nodes)} nodes`),
    tile(
      "tokens decoded",
      compact(decoded),
      decoded ? `${((1000 * counts.pairs) / decoded).toFixed(1)} pairs per 1,000` : "by the search",
    ),
    seconds ? tile("time", duration(seconds), "all stages") : null,
  ].filter(Boolean);
}

function asideDetails(overview) {
  const rows = overview.rejects.map((reject) => [reject.stage, count(reject.n), reject.reason]);
  return el(
    "details",
    {},
    el("summary", {}, `${plural(overview.counts.rejects, "row")} set aside`),
    table(["stage", "rows", "for example"], rows, { label: "Rows set aside" }),
  );
}
