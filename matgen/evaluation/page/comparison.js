// Several evaluations side by side.
"use strict";

const NAMES = DATA.runs.map((run) => run.name);
byId("lead").textContent = DATA.runs.map((run) => `${run.name}: ${run.asked.toLocaleString("en")} asked for`
  + (run.label ? ` (${run.label})` : "")).join(" · ");
byId("warnings").append(...DATA.warnings.map((text) => make("p", { text: `⚠ ${text}` })));

function cell(row, value, at) {
  if (!value) return make("span", { text: "–", class: "no" });
  const best = row.best !== null && row.best === NAMES[at];
  const node = make("span", {}, make("span", { text: `${value.value === null ? "not measurable" : digits(value.value)} ${row.unit}`.trim() + (best ? " ★" : ""), class: best ? "best" : null }));
  if (value.interval_95) node.append(" ", make("small", { text: `[${digits(value.interval_95[0])}, ${digits(value.interval_95[1])}]` }));
  if (value.difference_to_first !== null) {
    const sign = value.difference_to_first > 0 ? "+" : "";
    const range = value.difference_interval_95;
    node.append(make("br"), make("small", {
      text: `${value.significant ? "◆" : "◇"} ${sign}${digits(value.difference_to_first, 3)}${range ? ` [${digits(range[0], 3)}, ${digits(range[1], 3)}]` : ""}`,
      title: value.significant ? "the interval excludes nought" : "may be chance",
    }));
  }
  return node;
}
fillTable(byId("figure-table"), ["figure", ...NAMES], DATA.figures.map((row) => {
  const name = make("span", { text: row.figure.replaceAll("_", " ") });
  name.append(" ", make("small", { text: `${row.evaluator}${row.better ? `, ${row.better} is better` : ""}` }));
  return [name, ...row.values.map((value, at) => cell(row, value, at))];
}));
const statuses = [...new Set(DATA.statuses.flatMap((one) => Object.keys(one)))];
fillTable(byId("status-table"), ["status", ...NAMES],
  statuses.map((status) => [status, ...DATA.statuses.map((one) => String(one[status] ?? 0))]), NAMES.map((_, i) => i + 1));

function distribution(name, title, least) {
  const runs = DATA.columns.map((columns, at) => ({ name: NAMES[at], asked: DATA.runs[at].asked,
    values: columns[name].filter((value) => value !== null).sort((a, b) => a - b) }));
  const all = runs.flatMap((run) => run.values);
  if (!all.length) {
    absent(`chart-${name}`, `${title}: no run has it.`);
    absent(`chart-${name}-cumulative`, "");
    byId(`chart-${name}-cumulative`).hidden = true;
    return;
  }
  const range = usualRange(all, least);
  const size = (range[1] - range[0]) / 30;
  const start = Math.floor(range[0] / size) * size;
  const axes = { xaxis: { title: { text: title }, range }, showlegend: true };
  chart(`chart-${name}`, () => [
    runs.map((run) => {
      const counts = Array(Math.ceil((Math.max(...all) - start) / size) + 1).fill(0);
      run.values.forEach((value) => { counts[Math.floor((value - start) / size)] += 1; });
      return { type: "scatter", mode: "lines", line: { shape: "hv", width: 1.5 }, fill: "tozeroy", name: run.name,
        x: counts.map((_, i) => start + i * size), y: counts.map((count) => count / run.asked) };
    }),
    { ...axes, yaxis: { title: { text: "share of samples" }, tickformat: ".0%" } },
  ]);
  chart(`chart-${name}-cumulative`, () => [
    runs.map((run) => ({ type: "scatter", mode: "lines", line: { shape: "hv" }, name: run.name, x: run.values,
      y: run.values.map((_, i) => (i + 1) / run.asked) })),
    { ...axes, yaxis: { title: { text: "share up to here" }, tickformat: ".0%", rangemode: "tozero" } },
  ]);
}
distribution("energy_above_hull", "energy above hull (eV/atom)", 0.3);
distribution("rmsd", "RMSD of relaxation (Å)", 0.1);
performance.mark("filled");
