// Distributions, elements, space groups, novelty against stability, targets.
"use strict";

const COLUMNS = DATA.columns;
const number = (value) => typeof value === "number";
const indices = [...Array(DATA.asked).keys()];
const formulaOf = (i) => COLUMNS.formula[i] ?? "no formula";

function histogram(id, column, title, least, extra) {
  const values = COLUMNS[column];
  const there = indices.filter((i) => number(values?.[i]));
  if (!there.length) {
    byId(`caption-${id}`).textContent = "";
    return absent(`chart-${id}`, `${title}: no sample has one (it needs ${extra.needs}).`);
  }
  const range = usualRange(there.map((i) => values[i]), least);
  const size = (range[1] - range[0]) / 40;
  const novel = COLUMNS.novel;
  const bins = new Map();
  there.forEach((i) => { const at = Math.floor(values[i] / size); bins.set(at, (bins.get(at) ?? 0) + 1); });
  const few = Math.max(...bins.values()) <= 8;
  const parts = novel
    ? [["novel", (i) => novel[i] === true], ["known", (i) => novel[i] === false], ["not compared", (i) => novel[i] === null]]
    : [["samples", () => true]];
  chart(`chart-${id}`, () => [
    parts.map(([name, belongs]) => ({
      type: "histogram", name, x: there.filter(belongs).map((i) => values[i]),
      xbins: { start: Math.floor(range[0] / size) * size, end: Math.max(...there.map((i) => values[i])) + size, size },
    })).filter((trace) => trace.x.length),
    {
      barmode: "stack",
      xaxis: { title: { text: title }, range },
      yaxis: { title: { text: "samples" }, ...(few ? { dtick: 1 } : {}) },
      showlegend: Boolean(novel),
      shapes: extra.line === null || extra.line === undefined ? [] : [{ type: "line", yref: "paper", y0: 0, y1: 1,
        x0: extra.line, x1: extra.line, line: { dash: "dash", color: colour("faint"), width: 1.5 } }],
    },
  ]);
  const beyond = there.filter((i) => values[i] > range[1]).length;
  byId(`caption-${id}`).textContent = `${there.length.toLocaleString("en")} of ${DATA.asked.toLocaleString("en")} samples have one.`
    + (beyond ? ` ${beyond} lie beyond the right end: double-click to see all.` : "")
    + (number(extra.line) ? ` Dashed: stable up to ${extra.line} eV/atom.` : "");
}

histogram("hull", "energy_above_hull", "energy above hull (eV/atom)", 0.3, { line: DATA.threshold, needs: "a potential and a hull" });
histogram("rmsd", "rmsd", "RMSD of relaxation (Å)", 0.1, { needs: "a potential" });

// Periodic table.
const most = Math.max(1, ...DATA.elements.map((element) => element.count));
// Few samples are near the ground's brightness, many far from it.
const ON_LIGHT = [[222, 235, 247], [158, 202, 225], [66, 146, 198], [8, 81, 156], [8, 48, 107]];
const ON_DARK = [[24, 47, 74], [21, 78, 131], [42, 126, 186], [120, 184, 220], [214, 232, 246]];
function heat(count) {
  const STOPS = dark.matches ? ON_DARK : ON_LIGHT;
  const at = most > 1 ? Math.log(count) / Math.log(most) * (STOPS.length - 1) : STOPS.length - 1;
  const low = Math.min(Math.floor(at), STOPS.length - 2);
  const rgb = STOPS[low].map((value, i) => Math.round(value + (at - low) * (STOPS[low + 1][i] - value)));
  const light = rgb.reduce((sum, value, i) => sum + (value / 255) ** 2.2 * [0.2126, 0.7152, 0.0722][i], 0);
  return [`rgb(${rgb})`, light > 0.18 ? "#000" : "#fff"];
}
for (const element of DATA.elements) {
  const cell = make("button", {
    type: "button", "data-element": element.symbol, "aria-pressed": "false", "aria-disabled": element.count ? null : "true",
    title: `${element.symbol}: ${element.count.toLocaleString("en")} of ${DATA.asked.toLocaleString("en")} samples`,
    text: element.symbol,
  }, make("small", { text: element.count ? element.count.toLocaleString("en") : "–" }));
  cell.style.gridColumn = element.column + 1;
  cell.style.gridRow = element.row + 1;
  const tint = () => { [cell.style.background, cell.style.color] = heat(element.count); };
  if (element.count) { tint(); onTheme.push(tint); }
  byId("periodic").append(cell);
}

// Space groups.
(function spaceGroups() {
  const kinds = [["as sampled", COLUMNS.space_group_sampled], ["relaxed", COLUMNS.space_group_relaxed]].filter(([, column]) => column);
  const counts = kinds.map(([, column]) => column.reduce((all, n) => (number(n) ? all.set(n, (all.get(n) ?? 0) + 1) : all), new Map()));
  const total = new Map();
  counts.forEach((all) => all.forEach((count, n) => total.set(n, Math.max(total.get(n) ?? 0, count))));
  if (!total.size) return absent("chart-groups", "No sample has a space group.");
  const shownGroups = [...total].sort((a, b) => b[1] - a[1]).slice(0, 24).map(([n]) => n).sort((a, b) => a - b);
  const names = shownGroups.map((n) => `${n} ${DATA.space_groups[n]}`);
  chart("chart-groups", () => [
    kinds.map(([name], k) => ({ type: "bar", name, x: names, y: shownGroups.map((n) => counts[k].get(n) ?? 0) })),
    { barmode: "group", bargap: 0.25, xaxis: { type: "category", tickangle: -50 }, yaxis: { title: { text: "samples" } }, showlegend: true },
  ]);
  const found = kinds.map(([name], k) => `${[...counts[k].values()].reduce((a, b) => a + b, 0)} ${name} in ${counts[k].size} groups`);
  byId("caption-groups").textContent = `Found: ${found.join(", ")}. ${total.size > 24 ? "The 24 most frequent are shown." : ""}`;
})();

// Novelty against stability.
(function noveltyAgainstStability() {
  const { novel, stable, unique, energy_above_hull: energy } = COLUMNS;
  const table = byId("novelty-table");
  if (!novel) {
    absent("chart-novelty", "Novelty was not measured (it needs a reference).");
    return;
  }
  const kinds = [["novel", true], ["known", false], ["not compared", null]];
  const columns = stable ? [["stable", true], ["not stable", false], ["no energy", null]] : [["samples", undefined]];
  fillTable(table, ["", ...columns.map(([name]) => name)], kinds.map(([name, is]) => [name, ...columns.map(([, was]) => {
    const here = indices.filter((i) => novel[i] === is && (was === undefined || stable[i] === was));
    const only = unique ? here.filter((i) => unique[i] === true).length : here.length;
    return unique && is !== null ? `${here.length} (${only} unique)` : String(here.length);
  })]), columns.map((_, i) => i + 1));
  const there = energy ? indices.filter((i) => number(energy[i]) && novel[i] !== null) : [];
  if (!there.length) {
    absent("chart-novelty", "No sample has both: stability needs a potential and a hull.");
    return;
  }
  // The same samples always lie at the same height.
  const jitter = (i) => 0.34 * (((i * 0.6180339887) % 1) * 2 - 1);
  const groups = [["unique", (i) => unique?.[i] === true], ["repeats an earlier one", (i) => unique?.[i] !== true]];
  const range = usualRange(there.map((i) => energy[i]), 0.3);
  chart("chart-novelty", () => [
    groups.map(([name, belongs]) => {
      const mine = there.filter(belongs);
      return { type: "scatter", mode: "markers", name, x: mine.map((i) => energy[i]), y: mine.map((i) => (novel[i] ? 1 : 0) + jitter(i)),
        customdata: mine, text: mine.map((i) => `${formulaOf(i)} (sample ${COLUMNS.index[i]})`),
        hovertemplate: "%{text}<br>%{x:.3f} eV/atom<extra></extra>", marker: { size: 7, opacity: 0.65 } };
    }).filter((trace) => trace.x.length),
    { xaxis: { title: { text: "energy above hull (eV/atom)" }, range },
      yaxis: { tickvals: [0, 1], ticktext: ["known", "novel"], range: [-0.6, 1.6], zeroline: false }, showlegend: true,
      shapes: number(DATA.threshold) ? [{ type: "line", yref: "paper", y0: 0, y1: 1, x0: DATA.threshold, x1: DATA.threshold,
        line: { dash: "dash", color: colour("faint"), width: 1.5 } }] : [] },
  ], (event) => window.chooseSample(event.points[0].customdata));
  byId("caption-novelty").textContent = "One point per sample; height within a row means nothing. Choose a point to see its crystal.";
})();

// Targets.
for (const target of DATA.targets) {
  const unit = target.unit ? ` (${target.unit})` : "";
  const node = make("div", { class: "chart" });
  byId("target-charts").append(make("figure", {}, make("h3", { text: target.label }), node));
  if (target.achieved) {
    const there = indices.filter((i) => number(target.requested[i]) && number(target.achieved[i]));
    const groups = target.groups;
    chart(node, () => [
      [
        { type: "scatter", mode: "markers", name: "samples", x: there.map((i) => target.requested[i]), y: there.map((i) => target.achieved[i]),
          customdata: there, text: there.map(formulaOf), hovertemplate: "%{text}<br>asked %{x}, got %{y}<extra></extra>", marker: { size: 6, opacity: 0.4 } },
        { type: "scatter", mode: "markers", name: "mean, 95 % interval", x: groups.map((g) => g.requested), y: groups.map((g) => g.mean),
          error_y: { type: "data", symmetric: false, thickness: 2,
            array: groups.map((g) => (g.high === null ? 0 : g.high - g.mean)), arrayminus: groups.map((g) => (g.low === null ? 0 : g.mean - g.low)) },
          text: groups.map((g) => `${g.n} samples`), hovertemplate: "asked %{x}: mean %{y:.4g}, %{text}<extra></extra>",
          marker: { size: 11, symbol: "diamond" } },
        { type: "scatter", mode: "lines", name: "as asked", x: there.map((i) => target.requested[i]).sort((a, b) => a - b),
          y: there.map((i) => target.requested[i]).sort((a, b) => a - b), line: { dash: "dash", color: colour("faint") }, hoverinfo: "skip" },
      ],
      { xaxis: { title: { text: `asked for${unit}` } },
        yaxis: { title: { text: `achieved${unit}` } }, showlegend: true },
    ], (event) => number(event.points[0].customdata) && window.chooseSample(event.points[0].customdata));
  } else {
    chart(node, () => [
      target.shares.map((series) => ({ type: "bar", name: series.name, x: series.values.map((s) => s.requested), y: series.values.map((s) => s.share),
        error_y: { type: "data", symmetric: false, array: series.values.map((s) => s.high - s.share), arrayminus: series.values.map((s) => s.share - s.low) },
        text: series.values.map((s) => `${s.n} samples`), textposition: "none", hovertemplate: "%{x}: %{y:.1%} of %{text}<extra></extra>" })),
      { barmode: "group", xaxis: { type: "category", title: { text: "asked for" } },
        yaxis: { title: { text: "share that reached it" }, range: [0, 1], tickformat: ".0%" }, showlegend: true },
    ]);
  }
}
byId("target-note").textContent = DATA.targets.length
  ? "Diamonds and bars carry 95 % intervals; the dashed line is what was asked for."
  : "No condition was asked for that a structure shows by itself.";
