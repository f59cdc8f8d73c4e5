// Head of the report: warnings, cards, the table of figures, outcomes, setup.
"use strict";

const READS = {
  sun: "stable, unique, novel", stable: "stable", unique: "unique", novel: "novel",
  valid: "valid", valid_structure: "valid structure", valid_composition: "valid composition",
  on_hull: "on or below the hull", relaxed: "relaxed", converged: "converged",
  matches_relaxed: "unchanged by relaxation", energy_above_hull_mean: "mean energy above hull",
  energy_above_hull_median: "median energy above hull", rmsd_mean: "mean RMSD of relaxation",
  rmsd_median: "median RMSD of relaxation",
};

function shown(row, value) {
  if (value === null || value === undefined) return row.value === null ? "not measurable" : "";
  return row.count !== null ? percent(value) : `${digits(value)} ${row.unit}`.trim();
}

function rangeOf(row) {
  if (row.low === null) return "";
  return row.count !== null
    ? `${(100 * row.low).toFixed(1)} to ${percent(row.high)}`
    : `${digits(row.low)} to ${digits(row.high)}`;
}

function spanBar(row) {
  if (row.count === null || row.low === null) return "";
  const bar = make("span", { class: "span-bar", "aria-hidden": "true" });
  const inner = make("i");
  inner.style.left = `${100 * row.low}%`;
  inner.style.width = `${100 * (row.high - row.low)}%`;
  const mark = make("b");
  mark.style.left = `calc(${100 * row.value}% - 1px)`;
  bar.append(inner, mark);
  return bar;
}

// Labels are long: they may break before their signs.
byId("title").append(...DATA.title.split(/(?=[+/(])/).flatMap((part) => [make("wbr"), part]));
byId("lead").textContent = `Every rate is of the ${DATA.asked.toLocaleString("en")} samples asked for.`;
byId("warnings").append(...DATA.warnings.map((text) => make("p", { text: `⚠ ${text}` })));

const rates = DATA.figures.filter((row) => row.figure && row.count !== null);
for (const name of ["sun", "stable", "novel", "unique", "valid"]) {
  const row = rates.find((one) => one.figure === name);
  if (!row) continue;
  byId("cards").append(make("div", { class: "card" },
    make("div", { class: "name", text: READS[name] }),
    make("div", { class: "value", text: percent(row.value) }),
    make("div", { class: "range", text: row.low === null ? "" : `95 %: ${rangeOf(row)}` }),
    make("div", { class: "range", text: `${row.count.toLocaleString("en")} of ${row.of.toLocaleString("en")}` })));
}

fillTable(
  byId("figure-table"),
  ["figure", "value", "95 % interval", "", "of", ...DATA.published.map((row) => row.model)],
  DATA.figures.map((row) => {
    const name = make("span", { text: READS[row.figure] ?? row.figure.replaceAll("_", " ") });
    name.append(" ", make("small", { text: row.evaluator }));
    if (row.note) return [make("span", { text: `${row.evaluator}: ${row.note}`, class: "no" }), "", "", "", ""];
    return [name, shown(row, row.value), rangeOf(row), spanBar(row),
      row.count === null ? "" : `${row.count.toLocaleString("en")} of ${row.of.toLocaleString("en")}`,
      ...DATA.published.map((other) => shown(row, other.figures[row.figure]))];
  }),
  [1, 2, 4, ...DATA.published.map((_, i) => 5 + i)],
);
byId("published-note").textContent = DATA.published.length
  ? `Beside ours: published figures with the same label, ${DATA.label}. Sources: ${[...new Set(DATA.published.map((row) => row.source))].join("; ")}.`
  : `No published figures stand beside these: none was made with the same protocol, potential, hull, reference and truth${DATA.label ? ` (${DATA.label})` : ""}.`;

fillTable(byId("status-table"), ["status", "samples", "meaning"],
  DATA.statuses.map(([status, count, meaning]) => [status, count.toLocaleString("en"), meaning]), [1]);
fillTable(byId("fact-table"), ["", ""], DATA.facts);
fillTable(byId("note-table"), ["evaluator", "note", ""], DATA.notes);
