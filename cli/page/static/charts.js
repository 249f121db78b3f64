// Charts by Observable Plot: they take the width that there is, and their colours from the style sheet.

const SERIES = ["--series-0", "--series-1", "--series-2", "--series-3", "--series-4", "--series-5", "--series-6"];
const SYMBOLS = ["circle", "square", "triangle", "diamond", "star", "cross", "wye"];
const colour = (i) => `var(${SERIES[i % SERIES.length]})`;

/** A policy's place among the colours: the base model is grey, the warm-up amber, the rounds follow. */
function seriesOf(label) {
  if (label === "base") return 0;
  if (label === "warm-up") return 1;
  const round = /^round (\d+)$/.exec(label);
  return round ? 1 + Number(round[1]) : SERIES.length - 1;
}

/** A captioned chart that is drawn anew when its width changes. */
function figure(caption, aside, draw) {
  const holder = el("div", { class: "chart" });
  let drawn = 0;
  new ResizeObserver(([entry]) => {
    const width = Math.floor(entry.contentRect.width);
    if (!width || width === drawn) return;
    drawn = width;
    holder.replaceChildren(draw(width));
  }).observe(holder);
  return el("figure", {}, caption && el("figcaption", {}, `${caption} `, el("span", {}, aside)), holder);
}

const STYLE = { background: "none", color: "inherit", fontFamily: "inherit", fontSize: "12px", overflow: "visible" };

function plot(options) {
  const svg = Plot.plot({ style: STYLE, ...options });
  svg.setAttribute("role", "img");
  // To those who hear the page a chart is one picture; its table says the rest.
  for (const part of svg.querySelectorAll("[aria-label]")) part.removeAttribute("aria-label");
  return svg;
}

/** What the signs and colours of a chart's policies mean. */
function legend(labels) {
  const sign = (label) => {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", "-6 -6 12 12");
    svg.setAttribute("aria-hidden", "true");
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("d", d3.symbol(d3[symbolName(label)], 70)());
    path.setAttribute("fill", colour(seriesOf(label)));
    svg.append(path);
    return svg;
  };
  return el(
    "ul",
    { class: "legend" },
    labels.map((label) => el("li", {}, sign(label), label)),
  );
}

const symbolOf = (label) => SYMBOLS[seriesOf(label) % SYMBOLS.length];
const symbolName = (label) => `symbol${symbolOf(label)[0].toUpperCase()}${symbolOf(label).slice(1)}`;
const scales = (labels) => ({
  color: { domain: labels, range: labels.map((label) => colour(seriesOf(label))) },
  symbol: { domain: labels, range: labels.map(symbolOf) },
});

/** The names of the rows of charts, in so much room left of them. */
const facetNames = (room) =>
  Plot.axisFy({ anchor: "left", label: null, tickSize: 0, textAnchor: "start", dx: 8 - room, lineWidth: room / 13 });

/** Scores with their intervals: a band a score, a line a policy. */
function scoreChart(rows, labels, width) {
  const points = rows.flatMap((row) =>
    row.scores.flatMap((score, i) => (score ? [{ ...score, name: row.name, label: labels[i] }] : [])),
  );
  const room = Math.max(118, Math.min(150, width * 0.3));
  const highest = Math.max(...points.map((point) => point.high));
  return plot({
    width,
    marginLeft: room,
    marginRight: 14,
    marginTop: 6,
    marginBottom: 34,
    height: 44 + rows.length * (labels.length * 14 + 14),
    ariaLabel: "Scores with 95 % intervals; the table below holds the numbers",
    x: {
      domain: [0, Math.min(100, Math.ceil(highest * 10 + 0.2) * 10)],
      label: "right, %",
      grid: true,
      ticks: width < 500 ? 5 : 10,
    },
    y: { domain: labels, axis: null, padding: 0.9 },
    fy: { domain: rows.map((row) => row.name), label: null, axis: null, padding: 0 },
    ...scales(labels),
    marks: [
      facetNames(room),
      Plot.ruleY(points, {
        x1: (d) => 100 * d.low,
        x2: (d) => 100 * d.high,
        y: "label",
        fy: "name",
        stroke: "label",
        strokeWidth: 2,
        strokeOpacity: 0.55,
      }),
      Plot.dot(points, {
        x: (d) => 100 * d.value,
        y: "label",
        fy: "name",
        fill: "label",
        symbol: "label",
        r: 4.2,
        channels: { "95 %": (d) => `${percent(d.low)} to ${percent(d.high)}`, n: "n", policy: "label" },
        tip: { format: { x: (x) => `${x.toFixed(1)} %`, y: false, fy: true, fill: false, symbol: false } },
      }),
    ],
  });
}

/** Shares of wrong outputs by class: a band a class, a bar a policy. */
function errorChart(errors, width) {
  const labels = errors.policies.map((policy) => policy.label);
  const bars = errors.policies.flatMap((policy) => {
    const wrong = d3.sum(policy.counts);
    return errors.classes.map((name, i) => ({
      name,
      label: policy.label,
      n: policy.counts[i],
      share: wrong ? (100 * policy.counts[i]) / wrong : 0,
    }));
  });
  const room = Math.max(112, Math.min(130, width * 0.32));
  return plot({
    width,
    marginLeft: room,
    marginRight: 76,
    marginTop: 4,
    marginBottom: 34,
    height: 40 + errors.classes.length * (labels.length * 15 + 10),
    ariaLabel: "Error classes as shares of the wrong outputs; the table below holds the numbers",
    x: {
      label: "of the policy’s wrong outputs, %",
      grid: true,
      ticks: 5,
      nice: 5,
      domain: [
        0,
        Math.max(
          20,
          d3.max(bars, (d) => d.share),
        ),
      ],
    },
    y: { domain: labels, axis: null, padding: 0.25, paddingOuter: 0.5 },
    fy: { domain: errors.classes, axis: null, padding: 0 },
    ...scales(labels),
    marks: [
      facetNames(room),
      Plot.barX(bars, { x: "share", y: "label", fy: "name", fill: "label", rx: 2 }),
      Plot.text(bars, {
        x: "share",
        y: "label",
        fy: "name",
        dx: 6,
        textAnchor: "start",
        fill: "var(--muted)",
        text: (d) => (d.n ? `${d.share.toFixed(0)} % (${d.n})` : "0"),
      }),
      Plot.ruleX([0]),
    ],
  });
}

/**
 * Lines over updates.
 * @param lines [{name, colour, dash, dots, points: [{x, y}]}]
 * @param options further ones of Plot: `y`, and `kept`, an update to be marked.
 */
function lineChart(lines, width, { y = {}, kept = null, label }) {
  const points = lines.flatMap((line) => line.points.map((point) => ({ ...point, line: line.name })));
  const of = (line) => line.points.filter((point) => point.y !== null);
  return plot({
    width,
    height: 210,
    marginLeft: 44,
    marginRight: 14,
    marginBottom: 32,
    marginTop: 16,
    ariaLabel: label,
    x: {
      label: "update",
      ticks: d3.ticks(...d3.extent(points, (point) => point.x), width / 70).filter(Number.isInteger),
      tickFormat: String,
    },
    y: { grid: true, ticks: 4, label: null, ...y },
    marks: [
      kept ? Plot.ruleX([kept], { stroke: "var(--neutral)", strokeDasharray: "2 3" }) : null,
      ...lines.map((line) =>
        Plot.line(of(line), { x: "x", y: "y", stroke: line.colour, strokeWidth: 1.7, strokeDasharray: line.dash }),
      ),
      ...lines.map((line) =>
        line.dots || of(line).length < 2 ? Plot.dot(of(line), { x: "x", y: "y", fill: line.colour, r: 2.8 }) : null,
      ),
      Plot.tip(
        points,
        Plot.pointer({
          x: "x",
          y: "y",
          channels: { line: { value: "line", label: "" } },
          format: { x: (x) => String(x), y: (value) => value.toPrecision(3), line: true },
        }),
      ),
    ],
  });
}

/** What a line chart's lines are. */
function lineLegend(lines) {
  const sign = (line) => {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", "0 -6 12 12");
    svg.setAttribute("aria-hidden", "true");
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("d", "M0,0H12");
    path.setAttribute("stroke", line.colour);
    path.setAttribute("stroke-width", "2.5");
    if (line.dash) path.setAttribute("stroke-dasharray", line.dash);
    svg.append(path);
    return svg;
  };
  return el(
    "ul",
    { class: "legend" },
    lines.map((line) => el("li", {}, sign(line), line.name)),
  );
}

/** The stages' time as one strip. */
function timeChart(stages, kinds, width) {
  return plot({
    width,
    height: 62,
    marginLeft: 0,
    marginRight: 0,
    marginTop: 2,
    marginBottom: 30,
    ariaLabel: "Time by stage; the table below holds the numbers",
    x: { label: "minutes", ticks: width < 500 ? 4 : 8 },
    color: { domain: kinds.map((kind) => kind.name), range: kinds.map((kind) => kind.colour) },
    marks: [
      Plot.barX(
        stages,
        Plot.stackX({
          x: (d) => d.seconds / 60,
          fill: "kind",
          inset: 0.5,
          rx: 2,
          order: null,
          channels: { stage: "name", time: (d) => duration(d.seconds) },
          tip: { format: { x: false, fill: false, stage: true, time: true } },
        }),
      ),
    ],
  });
}
