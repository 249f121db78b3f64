// The first screen: what the run came to, in a sentence and a few numbers.

function showOverview(overview, benchmarks, cost) {
  byId("run-name").textContent = overview.name;
  const when = overview.ended && new Date(overview.ended);
  byId("run-base").textContent = [
    overview.base,
    overview.sources.map((source) => `${source.name} (${plural(source.n, "sample")})`).join(", "),
    when && when.toLocaleDateString("en-GB", { day: "numeric", month: "long", year: "numeric" }),
  ].filter(Boolean).join(" · ");
  byId("verdict").textContent = verdict(overview, benchmarks);
  byId("tiles").append(...tiles(overview, benchmarks, cost));
  byId("details").append(
    overview.counts.rejects ? asideDetails(overview) : "",
    el("details", {}, el("summary", {}, "Settings of the run"), el("pre", { tabindex: 0 }, overview.settings)),
  );
}

/** The newest policy's overall score beside that of the one it is held against. */
function headline(benchmark) {
  const [all] = benchmark.rows;
  const last = benchmark.policies.length - 1;
  const first = benchmark.policies.findIndex((policy) => policy.label === benchmark.reference);
  return { before: all.scores[first], after: all.scores[last], change: all.changes[last], label: benchmark.policies[last].label };
}

function verdict(overview, benchmarks) {
  const counts = overview.counts;
  const found = counts.trees
    ? `The search of ${plural(counts.trees, "sample")} found ${plural(counts.pairs, "step pair")}.`
    : "Nothing was searched yet.";
  if (!benchmarks.length) return `${found} No policy was evaluated yet.`;
  const [benchmark] = benchmarks;
  const { before, after, change, label } = headline(benchmark);
  if (!change) return `${found} On ${benchmark.name}, the ${label} policy gets ${percent(after.value)} of ${plural(after.n, "item")} right.`;
  const moved = `On ${benchmark.name}, ${label} gets ${percent(after.value)} right after ${percent(before.value)} for ${benchmark.reference}`;
  const items = `${change.fixed} of ${count(change.n)} items fixed, ${change.broken} broken`;
  if (change.p >= 0.05) return `${found} ${moved}: ${items}, no difference that so many items can show.`;
  return `${found} ${moved}: ${items}, ${change.difference > 0 ? "better" : "worse"} beyond chance (p ${pValue(change.p)}).`;
}

function tiles(overview, benchmarks, cost) {
  const counts = overview.counts;
  const tile = (label, figures, below, wide) =>
    el("div", { class: wide ? "tile wide" : "tile" }, el("div", { class: "label" }, label), el("div", { class: "figure" }, figures), el("div", { class: "below" }, below));
  const decoded = d3.sum(cost.searches, (search) => search.decoded);
  const seconds = d3.sum(cost.stages, (stage) => stage.seconds);
  return [
    ...benchmarks.slice(0, 2).map((benchmark) => {
      const { before, after, change, label } = headline(benchmark);
      const beside = change ? [el("small", {}, `${percent(before.value, 1)} → `), percent(after.value)] : percent(after.value);
      return tile(`${benchmark.name}, ${label}`, beside, `95 %: ${percent(after.low)} to ${percent(after.high)}, n ${count(after.n)}`, true);
    }),
    tile("pairs", count(counts.pairs), counts.trees ? `${(counts.pairs / counts.trees).toFixed(1)} a tree` : "none mined"),
    tile("trees", count(counts.trees), `${count(counts.nodes)} nodes`),
    tile("tokens decoded", compact(decoded), decoded ? `${((1000 * counts.pairs) / decoded).toFixed(1)} pairs per 1,000` : "by the search"),
    seconds ? tile("time", duration(seconds), "all stages") : null,
  ].filter(Boolean);
}

function asideDetails(overview) {
  const rows = overview.rejects.map((reject) => [reject.stage, count(reject.n), reject.reason]);
  return el("details", {}, el("summary", {}, `${plural(overview.counts.rejects, "row")} set aside`),
    table(["stage", "rows", "for example"], rows, { label: "Rows set aside" }));
}
