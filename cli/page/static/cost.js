// What the run took: time by stage, tokens, plan against fact, utilisation.

const STAGE_KINDS = [
  { name: "import", colour: "var(--series-0)" },
  { name: "warm-up", colour: "var(--series-1)" },
  { name: "perplexity", colour: "var(--series-5)" },
  { name: "search", colour: "var(--series-2)" },
  { name: "training", colour: "var(--series-3)" },
  { name: "evaluation", colour: "var(--series-4)" },
];
const KIND_OF = {
  import: "import",
  warmup: "warm-up",
  perplexity: "perplexity",
  mine: "search",
  preference: "training",
  evaluate: "evaluation",
};

function showCost(cost, overview) {
  const body = document.querySelector("#cost .body");
  body.append(...timeOf(cost.stages, overview), ...searchOf(cost, overview), ...plansOf(cost.plans), ...askedOf(cost));
}

function timeOf(stages, overview) {
  if (!stages.length)
    return [empty("The time of stages is recorded by the whole loop:", `itool run --run ${overview.folder}`)];
  const named = stages.map((stage) => ({ ...stage, kind: KIND_OF[stage.name.split("-")[0]] }));
  const kinds = STAGE_KINDS.filter((kind) => named.some((stage) => stage.kind === kind.name));
  const total = d3.sum(named, (stage) => stage.seconds);
  const rows = named.map((stage) => [stage.name, duration(stage.seconds), percent(stage.seconds / total, 0)]);
  return [
    el("h3", {}, `Time: ${duration(total)}`),
    el(
      "div",
      { class: "panel" },
      el(
        "ul",
        { class: "legend" },
        kinds.map((kind) => el("li", {}, el("span", { style: { color: kind.colour } }, "■ "), kind.name)),
      ),
      figure(null, null, (width) => timeChart(named, kinds, width)),
      el(
        "details",
        {},
        el("summary", {}, "By stage"),
        table(["stage", "time", "share"], rows, { label: "Time by stage" }),
      ),
    ),
  ];
}

function searchOf(cost, overview) {
  if (!cost.searches.length)
    return [el("h3", {}, "Search"), empty("Nothing was searched yet:", `itool mine --run ${overview.folder}`)];
  const columns = [
    "search",
    "trees",
    "pairs",
    "requests",
    "prefilled",
    "reused",
    "decoded",
    "judged",
    "decoded a pair",
  ];
  const rows = cost.searches.map((search) => [
    `round ${search.round}, from ${search.label}${search.search === "sample" ? ", sampled" : ""}`,
    ...["trees", "pairs", "requests", "prefilled", "reused", "decoded", "judged"].map((key) => count(search[key])),
    search.pairs ? count(search.decoded / search.pairs) : "–",
  ]);
  return [
    el("h3", {}, "Search: tokens"),
    el(
      "div",
      { class: "panel" },
      table(columns, rows, { label: "Tokens of the search" }),
      el(
        "p",
        { class: "note" },
        "Prefilled tokens were computed; reused ones came from the prefix that a tree’s requests share.",
      ),
    ),
  ];
}

function plansOf(plans) {
  if (!plans.length) return [];
  return [
    el("h3", {}, "Search: plan against fact"),
    ...plans.map((entry) => {
      const { plan, fact, rates } = entry;
      const row = (name, planned, real, text = count) => [
        name,
        text(planned),
        text(real),
        planned ? (real / planned).toFixed(2) : "–",
      ];
      const rows = [
        row("trees", plan.trees, fact.trees),
        row("requests", plan.requests, fact.requests),
        row("tokens prefilled", plan.prefill_tokens, fact.prefill_tokens),
        row("tokens decoded", plan.decode_tokens, fact.decode_tokens),
        ...(fact.judge_tokens ? [row("tokens judged", plan.judge_tokens, fact.judge_tokens)] : []),
        ["pairs", plan.pairs.map(count).join(" to "), count(fact.pairs), ""],
        row("time", plan.seconds, fact.seconds, duration),
      ];
      const speed = fact.decode_tokens / fact.seconds;
      return el(
        "div",
        { class: "panel" },
        table([`round ${entry.round}`, "plan", "fact", "fact / plan"], rows, {
          label: `Plan against fact, round ${entry.round}`,
        }),
        el(
          "p",
          { class: "note" },
          `Utilisation ${percent(entry.utilisation, 0)}: the search decoded ${count(speed)} tokens a second, ` +
            `full batches on this machine ${count(rates.decode)} (prefill ${count(rates.prefill)}).`,
        ),
      );
    }),
  ];
}

function askedOf(cost) {
  const rows = [
    ...cost.trainings.map((training) => [
      `training, round ${training.round}`,
      "",
      count(training.tokens),
      "",
      duration(training.seconds),
    ]),
    ...cost.evaluations.map((asked) => [
      `${asked.benchmark}, ${asked.label}`,
      count(asked.items),
      count(asked.prompt),
      count(asked.output),
      duration(asked.seconds),
    ]),
  ];
  if (!rows.length) return [];
  return [
    el("h3", {}, "Training and evaluation: tokens"),
    el(
      "div",
      { class: "panel" },
      table(["what", "items", "tokens read", "written", "time"], rows, { label: "Tokens of training and evaluation" }),
    ),
  ];
}
