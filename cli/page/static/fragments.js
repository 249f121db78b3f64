// Where the policy doubts, round by round, and how often its next step on held-out samples is right.

function showFragments(fragments, overview) {
  const body = document.querySelector("#fragments .body");
  if (!fragments.maps.length)
    body.append(empty("No right response was looked at yet:", `itool mine --search walk --run ${overview.folder}`));
  for (const map of fragments.maps) body.append(...mapOf(map, fragments.doubt));
  if (!fragments.accuracy.length)
    body.append(empty("No policy was asked for its next steps yet:", `itool eval fragments --run ${overview.folder}`));
  for (const accuracy of fragments.accuracy) body.append(...accuracyOf(accuracy));
}

function mapOf(map, doubt) {
  const doubted = d3.sum(map.kinds, (kind) => kind.doubted);
  const all = d3.sum(map.kinds, (kind) => kind.fragments);
  const more = map.places.length < map.all ? ` Of ${count(map.all)} places, the ${map.places.length} with most doubts.` : "";
  return [
    el("h3", {}, `Round ${map.round}: ${count(doubted)} of ${plural(all, "fragment")} doubted`),
    el(
      "div",
      { class: "panel" },
      kindTable(map),
      placeTable(map),
      el(
        "p",
        { class: "note" },
        `Doubted: the right step’s probability is below ${doubt}. The steps shown are the place’s fragment whose wrong step is most probable; only a walk knows wrong steps.${more}`,
      ),
    ),
  ];
}

/** Kinds by how often they are doubted, and what their most probable wrong steps break. */
function kindTable(map) {
  const classes = [...new Set(map.kinds.flatMap((kind) => Object.keys(kind.breaks)))].sort();
  const rows = map.kinds.map((kind) => [
    kind.kind,
    count(kind.fragments),
    count(kind.doubted),
    percent(kind.doubted / kind.fragments),
    ...classes.map((name) => count(kind.breaks[name])),
  ]);
  return table(["kind", "fragments", "doubted", "%", ...classes], rows, {
    label: `Round ${map.round}: doubts by kind and by what the wrong step breaks`,
  });
}

function placeTable(map) {
  const rows = map.places.map((place) => [
    el("span", { class: "code" }, breakable(place.place)),
    place.kind,
    count(place.doubted),
    count(place.fragments),
    probability(place.probability),
    place.breaks ?? "",
    place.example && stepCell("chosen", place.example.right, place.example.probability),
    place.example && stepCell("rejected", place.example.wrong, place.example.wrongProbability),
  ]);
  const columns = ["place", "kind", "doubted", "of", "mean p", "mostly breaks", "right step", "most probable wrong step"];
  return el("div", { class: "places" }, table(columns, rows, { label: `Round ${map.round}: doubts by place` }));
}

/** A name that may break after its dots and underscores. */
function breakable(name) {
  return name.split(/(?<=[._])/).flatMap((part) => [part, el("wbr")]);
}

/** A step with what differs marked, and its probability. */
function stepCell(kind, pieces, p) {
  return el(
    "span",
    { class: kind },
    el(
      "span",
      { class: "code" },
      pieces.map(([text, differs]) => (differs ? el("mark", {}, oneLine(text)) : oneLine(text))),
    ),
    el("small", {}, probability(p)),
  );
}

function accuracyOf(accuracy) {
  const labels = accuracy.policies.map((policy) => policy.label);
  return [
    el("h3", {}, accuracy.name),
    el(
      "div",
      { class: "panel" },
      legend(labels),
      figure(null, null, (width) => scoreChart(accuracy.rows, labels, width)),
      scoreTable(accuracy),
      changeTable(accuracy),
      errorTable(accuracy.name, accuracy.errors),
      el(
        "p",
        { class: "note" },
        `Along ${[...new Set(accuracy.samples)].map(count).join(" / ")} samples. The intervals of changes count samples, because the decisions along one are not independent; p is McNemar’s exact one, which does not.`,
      ),
    ),
  ];
}
