// One crystal at a time, drawn by 3Dmol.js from packed coordinates.
"use strict";

const ELEMENTS = Object.fromEntries(DATA.elements.map((element) => [element.number, element]));
const BOND_FACTOR = 1.15; // Of the sum of two covalent radii.
const MOST_JOINED = 4000; // Sites; every pair is looked at.
const EDGE = 1e-3; // Fractional: sites on a face, edge or corner are drawn on all of them.
const view = { viewer: null, sample: null, turned: false };

// The layout is described at packed() in report_page_data.py.
function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const data = new DataView(bytes.buffer);
  const lattice = [0, 1, 2].map((row) => [0, 1, 2].map((column) => data.getFloat32(4 * (3 * row + column), true)));
  const n = (bytes.length - 36) / 7;
  const numbers = [...bytes.slice(36, 36 + n)];
  const frac = numbers.map((_, site) => [0, 1, 2].map((axis) => data.getUint16(36 + n + 2 * (3 * site + axis), true) / 65536));
  return { lattice, numbers, frac };
}

const toCartesian = (lattice, f) => [0, 1, 2].map((axis) => f[0] * lattice[0][axis] + f[1] * lattice[1][axis] + f[2] * lattice[2][axis]);

// Sites of the block of cells, those on its faces on both sides.
function sitesOf(crystal, cells) {
  const sites = [];
  crystal.frac.forEach((frac, at) => {
    const places = frac.map((value) => {
      const inside = value > 1 - EDGE ? value - 1 : value;
      const along = [...Array(cells).keys()].map((k) => inside + k);
      return Math.abs(inside) < EDGE ? [...along, inside + cells] : along;
    });
    for (const x of places[0]) for (const y of places[1]) for (const z of places[2]) {
      sites.push({ number: crystal.numbers[at], at: toCartesian(crystal.lattice, [x, y, z]) });
    }
  });
  return sites;
}

// Joined: nearer than BOND_FACTOR times the covalent radii; metals only where there is nothing else.
function bondsOf(sites) {
  const onlyMetals = sites.every((site) => ELEMENTS[site.number].metal);
  const bonds = sites.map(() => []);
  for (let i = 0; i < sites.length; i += 1) {
    for (let j = i + 1; j < sites.length; j += 1) {
      const [a, b] = [ELEMENTS[sites[i].number], ELEMENTS[sites[j].number]];
      if (!onlyMetals && a.metal && b.metal) continue;
      const reach = BOND_FACTOR * (a.radius + b.radius);
      const apart = Math.hypot(...sites[i].at.map((value, axis) => value - sites[j].at[axis]));
      if (apart > 0.1 && apart < reach) { bonds[i].push(j); bonds[j].push(i); }
    }
  }
  return bonds;
}

const cssColour = (symbol) => `#${($3Dmol.elementColors.Jmol[symbol] ?? 0xff1493).toString(16).padStart(6, "0")}`;

function drawCell(viewer, lattice, cells) {
  const corners = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1], [1, 1, 1]];
  const edges = [[0, 1], [0, 2], [0, 3], [1, 4], [1, 5], [2, 4], [2, 6], [3, 5], [3, 6], [4, 7], [5, 7], [6, 7]];
  const point = (f) => { const [x, y, z] = toCartesian(lattice, f); return { x, y, z }; };
  for (let i = 0; i < cells; i += 1) for (let j = 0; j < cells; j += 1) for (let k = 0; k < cells; k += 1) {
    for (const [from, to] of edges) {
      viewer.addLine({ start: point(corners[from].map((v, axis) => v + [i, j, k][axis])),
        end: point(corners[to].map((v, axis) => v + [i, j, k][axis])), color: colour("faint") });
    }
  }
  const axes = [["a", "#d62728"], ["b", "#2ca02c"], ["c", "#1f77b4"]];
  axes.forEach(([name, tint], axis) => {
    const end = corners[axis + 1].map((v) => v * 0.35);
    viewer.addArrow({ start: point([0, 0, 0]), end: point(end), color: tint, radius: 0.07, mid: 0.75 });
    viewer.addLabel(name, { position: point(corners[axis + 1].map((v) => v * 0.42)), fontColor: tint, fontSize: 15,
      showBackground: false, inFront: true });
  });
}

function message(text) {
  view.viewer?.clear();
  view.viewer?.removeAllLabels();
  byId("viewer-message")?.remove();
  if (text) byId("viewer").prepend(make("p", { id: "viewer-message", text }));
}

window.showCrystal = (i) => {
  view.sample = i;
  const holder = byId("viewer");
  const both = DATA.crystals;
  const wanted = both[byId("geometry").value];
  const text = (wanted ?? both.sampled)[i];
  byId("legend").replaceChildren();
  if (!text) {
    message(i >= both.shown ? `Only the first ${both.shown.toLocaleString("en")} crystals are in this page.`
      : byId("geometry").value === "relaxed" && both.sampled[i] ? "Not relaxed; choose the geometry as sampled." : "No crystal that can be drawn.");
    view.viewer?.render();
    Object.assign(holder.dataset, { drawn: i, sites: 0 });
    return;
  }
  const crystal = unpack(text);
  const cells = Number(byId("cells").value);
  const sites = sitesOf(crystal, cells);
  const present = [...new Set(crystal.numbers)];
  if (!window.$3Dmol) return; // Not read yet; openViewer() comes back here.
  byId("legend").replaceChildren(...present.map((z) => {
    const dot = make("i");
    dot.style.background = cssColour(ELEMENTS[z].symbol);
    return make("span", {}, dot, ELEMENTS[z].symbol);
  }));
  if (!view.viewer) return;
  const { viewer } = view;
  message("");
  viewer.removeAllModels();
  viewer.removeAllShapes();
  const bonds = byId("bonds").checked && sites.length <= MOST_JOINED ? bondsOf(sites) : sites.map(() => []);
  const model = viewer.addModel();
  model.addAtoms(sites.map((site, serial) => ({
    elem: ELEMENTS[site.number].symbol, x: site.at[0], y: site.at[1], z: site.at[2], serial,
    bonds: bonds[serial], bondOrder: bonds[serial].map(() => 1),
  })));
  for (const z of present) {
    viewer.setStyle({ elem: ELEMENTS[z].symbol }, {
      sphere: { radius: 0.42 * ELEMENTS[z].radius, colorscheme: "Jmol" },
      ...(byId("bonds").checked ? { stick: { radius: 0.09, colorscheme: "Jmol" } } : {}),
    });
  }
  drawCell(viewer, crystal.lattice, cells);
  viewer.zoomTo();
  viewer.zoom(1.05);
  // The view stays as it was turned from one crystal to the next.
  if (!view.turned) {
    viewer.rotate(-70, "x");
    viewer.rotate(35, "y");
    view.turned = true;
  }
  viewer.render();
  Object.assign(holder.dataset, { drawn: i, sites: sites.length });
};

function openViewer() {
  try {
    view.viewer = $3Dmol.createViewer(byId("viewer"), { backgroundColor: colour("ground"), antialias: true });
  } catch (error) {
    view.viewer = null;
  }
  if (!view.viewer) {
    message("This browser draws no WebGL, so crystals cannot be shown in 3D; everything else is here.");
    return;
  }
  new ResizeObserver(() => view.viewer.resize()).observe(byId("viewer"));
  again();
}

const again = () => view.sample !== null && window.showCrystal(view.sample);

if (!DATA.crystals.relaxed) {
  byId("geometry").value = "sampled";
  byId("geometry").querySelector('[value="relaxed"]').disabled = true;
}
for (const id of ["geometry", "cells", "bonds"]) byId(id).addEventListener("change", again);
byId("spin").addEventListener("change", () => view.viewer?.spin(byId("spin").checked ? "y" : false));
onTheme.push(() => { view.viewer?.setBackgroundColor(colour("ground")); again(); });
filter();
if (table.found.length) choose(table.found[0]);
whenSeen(byId("viewer"), openViewer);
performance.mark("filled");
