// The table of samples: filters, sorting, and which sample is chosen.
"use strict";

const COLUMNS_SHOWN = [
  ["index", "#"], ["formula", "formula"], ["status", "status"], ["n_sites", "sites"],
  ["space_group_relaxed", "space group"], ["energy_above_hull", "above hull"], ["rmsd", "RMSD"],
  ["valid", "valid"], ["unique", "unique"], ["novel", "novel"], ["stable", "stable"], ["sun", "S.U.N."],
].map(([name, title]) => [name === "space_group_relaxed" && !COLUMNS[name] ? "space_group_sampled" : name, title])
  .filter(([name]) => COLUMNS[name]);
const STEP = 300;
const hasNumbers = (name) => COLUMNS[name].some(number);

const table = { order: "index", descending: false, found: indices, rows: STEP, chosen: null };
const elementsOf = indices.map((i) => new Set((COLUMNS.formula[i] ?? "").match(/[A-Z][a-z]?/g) ?? []));

for (const element of DATA.elements.filter((one) => one.count)) {
  byId("element").append(make("option", { value: element.symbol, text: `${element.symbol} (${element.count})` }));
}
for (const [status, count] of DATA.statuses) {
  byId("status").append(make("option", { value: status, text: `${status} (${count})` }));
}
const FLAGS = [["sun", "S.U.N. only"], ["valid", "valid only"], ["stable", "stable only"], ["novel", "novel only"]].filter(([name]) => COLUMNS[name]);
for (const [name, title] of FLAGS) {
  byId("flags").append(make("label", {}, make("input", { type: "checkbox", id: `only-${name}` }), ` ${title} `));
}

function cellOf(name, i) {
  const value = COLUMNS[name][i];
  if (name === "formula") {
    return make("td", {}, make("button", { type: "button", text: value ?? "–", "aria-label": `Show ${value ?? "sample"}, sample ${COLUMNS.index[i] ?? i}`, onclick: () => choose(i, true) }));
  }
  if (name.startsWith("space_group")) return make("td", { text: number(value) ? `${value} ${DATA.space_groups[value]}` : "–", class: number(value) ? null : "unknown" });
  if (typeof value === "boolean") return make("td", { text: value ? "yes" : "no", class: value ? "yes" : "no" });
  if (value === null) return make("td", { text: "–", class: number(COLUMNS[name].find(number)) ? "number unknown" : "unknown" });
  if (number(value)) return make("td", { text: Number.isInteger(value) ? digits(value) : value.toFixed(3), class: "number" });
  return make("td", { text: value, class: name });
}

function draw() {
  const header = COLUMNS_SHOWN.map(([name, title]) => make("th", {
    scope: "col", class: hasNumbers(name) && !name.startsWith("space_group") ? "number" : null,
    "aria-sort": table.order === name ? (table.descending ? "descending" : "ascending") : "none",
  }, make("button", { type: "button", text: title + (table.order === name ? (table.descending ? " ▼" : " ▲") : ""), onclick: () => sortBy(name),
    title: DATA.units[name] ?? "" })));
  const rows = table.found.slice(0, table.rows).map((i) => make("tr", { "data-sample": i, "aria-selected": String(i === table.chosen) },
    ...COLUMNS_SHOWN.map(([name]) => cellOf(name, i))));
  byId("sample-table").replaceChildren(make("thead", {}, make("tr", {}, ...header)), make("tbody", {}, ...rows));
  byId("sample-table").dataset.found = table.found.length;
  byId("shown").textContent = `${table.found.length.toLocaleString("en")} of ${DATA.asked.toLocaleString("en")} samples`;
  const left = table.found.length - table.rows;
  byId("more").hidden = left <= 0;
  byId("more").textContent = `Show ${Math.min(left, STEP)} more rows`;
  position();
}

function filter() {
  const text = byId("search").value.trim().toLowerCase();
  const element = byId("element").value;
  const status = byId("status").value;
  const only = FLAGS.map(([name]) => name).filter((name) => byId(`only-${name}`).checked);
  table.found = indices.filter((i) => (!text || (COLUMNS.formula[i] ?? "").toLowerCase().includes(text))
    && (!element || elementsOf[i].has(element)) && (!status || COLUMNS.status[i] === status)
    && only.every((name) => COLUMNS[name][i] === true));
  table.rows = STEP;
  for (const cell of byId("periodic").children) cell.setAttribute("aria-pressed", String(cell.dataset.element === element));
  sort();
  draw();
}

// Samples without a value come last in either direction.
function sort() {
  const values = COLUMNS[table.order];
  const sign = table.descending ? -1 : 1;
  table.found.sort((a, b) => {
    const [x, y] = [values[a], values[b]];
    if (x === null || y === null) return (x === null) - (y === null) || a - b;
    return sign * (typeof x === "string" || typeof y === "string" ? String(x).localeCompare(String(y)) : x - y) || a - b;
  });
}

function sortBy(name) {
  table.descending = table.order === name ? !table.descending : ["sun", "stable", "novel", "unique", "valid"].includes(name);
  table.order = name;
  sort();
  draw();
  byId("sample-table").querySelectorAll("th button")[COLUMNS_SHOWN.findIndex(([one]) => one === name)].focus();
}

function position() {
  const at = table.found.indexOf(table.chosen);
  byId("position").textContent = at < 0
    ? `not among the ${table.found.length.toLocaleString("en")} samples listed`
    : `${(at + 1).toLocaleString("en")} of ${table.found.length.toLocaleString("en")} listed`;
}

function choose(i, moveThere = false) {
  table.chosen = i;
  for (const row of byId("sample-table").tBodies[0].rows) row.setAttribute("aria-selected", String(Number(row.dataset.sample) === i));
  byId("sample-name").textContent = `${formulaOf(i)} – sample ${COLUMNS.index[i] ?? i}`;
  const told = Object.entries(COLUMNS).filter(([name]) => !["index", "formula"].includes(name) && COLUMNS[name][i] !== null);
  byId("sample-details").replaceChildren(...told.flatMap(([name, values]) => [
    make("dt", { text: name.replaceAll("_", " ") }),
    make("dd", { text: `${digits(values[i])} ${number(values[i]) ? DATA.units[name] ?? "" : ""}`.trim() }),
  ]));
  position();
  window.showCrystal(i);
  if (moveThere) byId("viewer").scrollIntoView({ block: "nearest" });
}
window.chooseSample = (i) => choose(i, true);

function step(by) {
  if (!table.found.length) return;
  const at = table.found.indexOf(table.chosen);
  const next = at < 0 ? 0 : (at + by + table.found.length) % table.found.length;
  choose(table.found[next]);
}

byId("previous").addEventListener("click", () => step(-1));
byId("next").addEventListener("click", () => step(1));
byId("viewer").addEventListener("keydown", (event) => {
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (by) { event.preventDefault(); step(by); }
});
byId("more").addEventListener("click", () => { table.rows += STEP; draw(); });
byId("filters").addEventListener("submit", (event) => event.preventDefault());
byId("filters").addEventListener("input", filter);
byId("filters").addEventListener("reset", () => setTimeout(filter));
byId("periodic").addEventListener("click", (event) => {
  const cell = event.target.closest("button");
  if (!cell || cell.getAttribute("aria-disabled") === "true") return;
  byId("element").value = cell.getAttribute("aria-pressed") === "true" ? "" : cell.dataset.element;
  filter();
});
// Best first where there is an energy.
if (COLUMNS.energy_above_hull && hasNumbers("energy_above_hull")) table.order = "energy_above_hull";
