// What every page shares: the data, colours of the reader's theme, tables, Plotly's layout.
"use strict";

const DATA = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const onTheme = [];

// Text from crystals and error messages only ever becomes text, never markup.
function make(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "text") node.textContent = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function digits(value, n = 4) {
  if (value === null || value === undefined) return "";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value !== "number") return String(value);
  return Number.isInteger(value) ? value.toLocaleString("en") : String(Number(value.toPrecision(n)));
}

const percent = (share) => `${(100 * share).toFixed(1)} %`;

function fillTable(table, header, rows, numeric = []) {
  const cell = (tag, value, column) => {
    const node = value instanceof Node ? make(tag, {}, value) : make(tag, { text: value });
    if (numeric.includes(column)) node.className = "number";
    return node;
  };
  const head = make("tr", {}, ...header.map((name, column) => {
    const node = cell("th", name, column);
    node.scope = "col";
    return node;
  }));
  const body = rows.map((row) => make("tr", {}, ...row.map((value, i) => cell("td", value, i))));
  table.replaceChildren(make("thead", {}, head), make("tbody", {}, ...body));
}

const CHARTS = [];

function layoutOf(extra) {
  const axis = { gridcolor: colour("line"), zerolinecolor: colour("line"), linecolor: colour("line"), automargin: true };
  return {
    margin: { l: 50, r: 15, t: 30, b: 45 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: colour("ink"), family: "system-ui, sans-serif", size: 13 },
    colorway: [colour("accent"), colour("second"), colour("good"), "#8e6bbf", "#b0a030", "#5aa9a9"],
    hoverlabel: { bgcolor: colour("panel"), bordercolor: colour("line"), font: { color: colour("ink") } },
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
    bargap: 0.06,
    ...extra,
    xaxis: { ...axis, ...extra.xaxis },
    yaxis: { ...axis, ...extra.yaxis },
  };
}

// The libraries stand at the end of the page: text and tables are there before they are read.
const loaded = new Promise((resolve) => { window.addEventListener("load", resolve); });

// A page opens quickly if it draws what is looked at: this calls once, when the node is nearly seen.
function whenSeen(node, act) {
  let done = false;
  const once = () => { if (!done) { done = true; observer.disconnect(); loaded.then(act); } };
  const observer = new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && once(),
    { rootMargin: "300px" });
  observer.observe(node);
  window.addEventListener("beforeprint", once);
}

// draw() gives [traces, layout]; it runs again when the reader's theme changes.
function chart(id, draw, click) {
  const node = typeof id === "string" ? byId(id) : id;
  const paint = () => {
    const [traces, layout] = draw();
    Plotly.react(node, traces, layoutOf(layout), { displaylogo: false, responsive: true,
      modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] });
  };
  whenSeen(node, () => {
    paint();
    node.dataset.drawn = "true";
    if (click) node.on("plotly_click", click);
    CHARTS.push(paint);
  });
}

function absent(id, text) {
  const node = byId(id);
  node.classList.add("absent");
  node.textContent = text;
}

// A few far-off samples must not squeeze the others into one bar: the axis starts with 95 % of them.
function usualRange(values, least) {
  const sorted = [...values].sort((a, b) => a - b);
  const high = Math.max(sorted[Math.floor(0.95 * (sorted.length - 1))], least);
  const low = Math.min(sorted[0], 0);
  return [low - 0.02 * (high - low), high + 0.04 * (high - low)];
}

dark.addEventListener("change", () => [...CHARTS, ...onTheme].forEach((paint) => paint()));

loaded.then(() => { document.documentElement.dataset.ready = "true"; });
