// Scores with intervals by policy and category, the paired changes against the warm-up, and the error classes.

const CHANGES = "Changes are over the items that both answered, with Newcombe’s 95 % interval and McNemar’s exact p.";

function showScores(benchmarks, overview, trainings) {
  const body = document.querySelector("#scores .body");
  body.append(...choices(trainings.filter((training) => training.candidates.length)));
  if (!benchmarks.length) {
    body.append(empty("No policy of this run was evaluated yet:", `itool eval run bfcl-v3 --run ${overview.folder}`));
  }
  for (const benchmark of benchmarks) body.append(...scoresOf(benchmark));
}

/** Which trainings were kept: what every policy that was asked made of the validation items. */
function choices(trainings) {
  if (!trainings.length) return [];
  const rows = trainings.flatMap((training) =>
    training.candidates.map((candidate, i) => [
      i ? "" : training.round ? `round ${training.round}` : "warm-up",
      candidate.update ? `update ${candidate.update}` : "what it started from",
      `${count(candidate.right)} of ${count(training.asked)}`,
      candidate.update ? count(candidate.fixed) : "",
      candidate.update ? count(candidate.broken) : "",
      outcome(training, candidate.update),
    ]),
  );
  const ends = trainings.flatMap(({ candidates }) => candidates.map((_, i) => i === candidates.length - 1));
  return [
    el("h3", {}, "What was kept, by the validation items"),
    el(
      "div",
      { class: "panel" },
      table(["training", "after", "right", "fixed", "broken", ""], rows, {
        label: "Trainings, and what was kept of each",
        kinds: ends.map((end, i) => (end && i < ends.length - 1 ? "rule" : null)),
      }),
      el("p", { class: "note" }, "What was chosen by these items is too good on them: they are no score."),
    ),
  ];
}

function outcome(training, update) {
  if (update === (training.kept ?? 0)) return el("span", { class: "good" }, "▲ kept");
  return update === training.refused ? el("span", { class: "bad" }, "▼ not kept") : "";
}

function scoresOf(benchmark) {
  const labels = benchmark.policies.map((policy) => policy.label);
  const drawn = benchmark.rows.filter((row) => row.group !== "formula");
  return [
    el("h3", {}, benchmark.name),
    el(
      "div",
      { class: "panel" },
      legend(labels),
      figure(null, null, (width) => scoreChart(drawn, labels, width)),
      scoreTable(benchmark),
      changeTable(benchmark),
      el(
        "p",
        { class: "note" },
        `${benchmark.era}. `,
        benchmark.flips.length ? CHANGES : "",
        new Set(benchmark.policies.map((policy) => policy.n)).size > 1
          ? " Not all policies were asked the same items."
          : "",
      ),
      benchmark.flips.filter((flips) => flips.all).map((flips) => flipDetails(flips, benchmark.reference)),
    ),
  ];
}

function scoreTable(benchmark) {
  const columns = ["score", "n", ...benchmark.policies.map((policy) => policy.label)];
  const rows = benchmark.rows.map((row) => {
    const sizes = [...new Set(row.scores.filter(Boolean).map((score) => score.n))];
    return [el("span", { title: row.formula }, row.name), sizes.map(count).join(" / "), ...row.scores.map(scoreCell)];
  });
  return table(columns, rows, { label: `Scores on ${benchmark.name}`, kinds: rowKinds(benchmark.rows) });
}

/** All items stand out; a rule parts categories from formulas. */
function rowKinds(rows) {
  return rows.map((row, i) => {
    const last = i + 1 < rows.length && rows[i + 1].group !== row.group;
    return [row.group === "all" ? "strong" : "", last ? "rule" : ""].join(" ").trim() || null;
  });
}

function scoreCell(score) {
  if (!score) return "–";
  const missing = score.missing.length ? { title: `not run, counts as 0: ${score.missing.join(", ")}` } : {};
  return el(
    "span",
    missing,
    percent(score.value),
    score.missing.length ? "*" : "",
    el("small", {}, `${(100 * score.low).toFixed(1)} to ${(100 * score.high).toFixed(1)}`),
  );
}

/** What changed against the warm-up, in points. */
function changeTable(benchmark) {
  const compared = d3.range(benchmark.policies.length).filter((i) => benchmark.rows.some((row) => row.changes[i]));
  if (!compared.length) return [];
  const shown = benchmark.rows.filter((row) => row.changes.some(Boolean));
  const rows = shown.map((row) => [row.name, ...compared.flatMap((i) => changeCells(row.changes[i]))]);
  const columns = ["score", ...compared.flatMap((i) => [benchmark.policies[i].label, "fixed", "broken", "p"])];
  return [
    el("h4", {}, `Change against ${benchmark.reference}, points`),
    table(columns, rows, { label: `Changes on ${benchmark.name}`, kinds: rowKinds(shown) }),
  ];
}

function changeCells(change) {
  if (!change) return ["–", "", "", ""];
  const kind = change.p < 0.05 ? (change.difference > 0 ? "good" : "bad") : null;
  const interval = `${signed(100 * change.low, 1)} to ${signed(100 * change.high, 1)}`;
  return [
    el("span", {}, el("span", { class: kind }, signed(100 * change.difference, 1)), el("small", {}, interval)),
    count(change.fixed),
    count(change.broken),
    pValue(change.p),
  ];
}

function flipDetails(flips, reference) {
  const rows = flips.items.map((flip) => [
    el("span", { class: flip.fixed ? "good" : "bad" }, flip.fixed ? "▲ fixed" : "▼ broken"),
    flip.category,
    el("span", { class: "code" }, flip.id),
    flip.class ?? "",
  ]);
  const shown = flips.items.length < flips.all ? `, the first ${count(flips.items.length)}` : "";
  return el(
    "details",
    {},
    el("summary", {}, `${plural(flips.all, "item")} changed from ${reference} to ${flips.label}${shown}`),
    table(["change", "category", "item", "what was wrong"], rows, { label: `Items changed by ${flips.label}` }),
  );
}

function showErrors(benchmarks, overview) {
  const body = document.querySelector("#errors .body");
  const shown = benchmarks.filter((benchmark) => benchmark.errors.policies.length);
  if (!shown.length) {
    body.append(empty("No single-turn output was scored yet:", `itool eval run bfcl-v3 --run ${overview.folder}`));
  }
  for (const { name, errors } of shown) {
    body.append(
      el("h3", {}, name),
      el(
        "div",
        { class: "panel" },
        legend(errors.policies.map((policy) => policy.label)),
        figure(null, null, (width) => errorChart(errors, width)),
        errorTable(name, errors),
      ),
    );
  }
}

function errorTable(name, errors) {
  const columns = [
    "class",
    ...errors.policies.map(
      (policy) => `${policy.label} (${count(d3.sum(policy.counts))} wrong of ${count(policy.outputs)})`,
    ),
  ];
  const rows = errors.classes.map((kind, i) => [kind, ...errors.policies.map((policy) => count(policy.counts[i]))]);
  return table(columns, rows, { label: `Error classes on ${name}` });
}
