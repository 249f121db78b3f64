// Training curves: the warm-up's loss by stage, each round's loss, margin, accuracy and log-probabilities.

const STAGE_COLOURS = {
  easy: "var(--series-3)",
  medium: "var(--series-1)",
  hard: "var(--series-6)",
  mixed: "var(--series-2)",
};

function showTraining(groups, overview) {
  const body = document.querySelector("#training .body");
  if (!groups.length) {
    const command = overview.counts.pairs ? "itool train preference --run " : "itool train warmup --run ";
    body.append(empty("No training curve was recorded yet:", command + overview.folder));
  }
  for (const group of groups) body.append(...(group.round ? roundCurves(group) : warmupCurves(group)));
}

// A loss without pairs has no margin, no accuracy and nothing rejected.
function points(rows, field) {
  return rows.filter((row) => row[field] !== null).map((row) => ({ x: row.update, y: row[field] }));
}

function warmupCurves(group) {
  const stages = d3.groups(group.rows, (row) => row.stage);
  const lines = (field) =>
    stages.map(([name, rows]) => ({ name, colour: STAGE_COLOURS[name], points: points(rows, field) }));
  return [
    el("h3", {}, `Warm-up: ${stages.map(([name]) => name).join(", then ")}`),
    el(
      "div",
      { class: "panel" },
      lineLegend(lines("loss")),
      el(
        "div",
        { class: "charts" },
        figure("Loss", "of the response’s tokens", (width) =>
          lineChart(lines("loss"), width, { label: "Warm-up loss", y: { zero: true } }),
        ),
        figure("Learning rate", "", (width) =>
          lineChart(lines("learning_rate"), width, { label: "Warm-up learning rate", y: { tickFormat: "~e" } }),
        ),
      ),
    ),
  ];
}

function roundCurves(group) {
  const train = group.rows.filter((row) => row.split === "train");
  const validation = group.rows.filter((row) => row.split === "validation");
  const both = (field) =>
    [
      { name: "training pairs", colour: "var(--series-2)", points: points(train, field) },
      {
        name: "validation pairs",
        colour: "var(--series-1)",
        dash: "5 3",
        dots: true,
        points: points(validation, field),
      },
    ].filter((line) => line.points.length);
  const sides = [
    { name: "chosen", colour: "var(--good)", points: points(train, "chosen_logprob") },
    { name: "rejected", colour: "var(--bad)", dash: "5 3", points: points(train, "rejected_logprob") },
  ].filter((line) => line.points.length);
  const chart = (caption, aside, lines, y = {}) =>
    lines.length > 0 &&
    figure(caption, aside, (width) =>
      lineChart(lines, width, { kept: group.kept, label: `Round ${group.round}: ${caption}`, y }),
    );
  const kept = group.refused
    ? "No adapter of this round is kept: none got more validation items right than what it started from."
    : group.kept
      ? `The dotted line is update ${group.kept}, whose adapter is kept.`
      : "";
  return [
    el("h3", {}, `Round ${group.round}: ${group.objective}`),
    el(
      "div",
      { class: "panel" },
      lineLegend(both("loss")),
      el(
        "div",
        { class: "charts" },
        chart("Loss", "", both("loss")),
        chart("Margin", "of chosen over rejected", both("margin")),
        chart("Accuracy", "pairs with a margin above 0", both("accuracy"), { domain: [0, 1] }),
        el("div", {}, chart("Log-probability a token", "", sides), lineLegend(sides)),
      ),
      el("p", { class: "note" }, kept, group.stopped ? ` Stopped early: ${group.stopped}.` : ""),
    ),
  ];
}
