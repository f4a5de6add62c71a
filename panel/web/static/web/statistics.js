// Charts of what a VM used, or the VMs of a node, drawn from the statistics API into the card of its page.

import { timeMarks, valueMarks } from "./axes.js";

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 168;
const EDGE = { left: 68, right: 12, top: 8, bottom: 22 };
const MARK_PX = 76;            // a time's mark takes so much
const FRESH_MS = 300_000;      // statistics come every ten minutes
const card = document.getElementById("statistics");
const curves = card.querySelector(".curves");
const choice = card.querySelector("select");
const details = card.querySelector("details");
const { address, cpus, zone } = card.dataset;
// What the panel says to its reader, in their language.
const words = JSON.parse(document.getElementById("curve-words").textContent);
const lang = document.documentElement.lang;
const state = { rows: null, since: 0, until: 0, asked: 0, error: "" };

// Each is what a row says, by second (memory: as it is, and none is none that was measured); CPU is of all that there are.
const CURVES = [
  { title: words.cpu, unit: percent, lines: [[words.used, (row) => row.cpu_ns / 1e7 / cpus]] },
  { title: words.memory, unit: kibibytes, level: true, lines: [[words.used, (row) => row.rss_kib], [words.given, (row) => row.memory_kib]] },
  { title: words.disks, unit: bytes, lines: [[words.read, (row) => row.read_bytes], [words.written, (row) => row.write_bytes]] },
  { title: words.network, unit: bytes, lines: [[words.received, (row) => row.rx_bytes], [words.sent, (row) => row.tx_bytes]] },
];

const number = (value, exact) => value.toLocaleString(lang, { maximumFractionDigits: exact ? 1 : 0 });
function percent(value) { return `${number(value, value < 10)} %`; }
function bytes(value) { return `${size(value)}/${words.second}`; }
function kibibytes(value) { return size(value * 1024); }

function size(value) {
  let place = 0;
  while (value >= 1024 && place < words.units.length - 1) { value /= 1024; place += 1; }
  return `${number(value, value < 10 && place)} ${words.units[place]}`;
}

// A power of 1024 that the largest value is counted in; 1 for percent.
function unitOf(curve, most) {
  if (curve.unit === percent) return 1;
  const base = curve.level ? 1024 : 1;
  return 1024 ** Math.max(0, Math.floor(Math.log(Math.max(most * base, 1)) / Math.log(1024))) / base;
}

const filled = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
const written = (options) => {
  const format = new Intl.DateTimeFormat(lang, { timeZone: zone, hourCycle: "h23", ...options });
  return (at) => format.format(at);
};
const moment = written({ day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const whole = written({ year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit" });
const marked = {
  hour: written({ hour: "2-digit", minute: "2-digit" }),
  day: written({ day: "numeric", month: "short" }),
  month: written({ month: "short", year: "2-digit" }),
};

function make(name, attributes = {}, ...children) {
  const drawn = ["svg", "path", "line", "circle", "text", "g", "rect"].includes(name);
  const made = drawn ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// The values of a line, by the time at which their stretch begins; what was counted over no time is no value.
function values(curve, read) {
  return state.rows.filter((row) => row.seconds > 0 && !(curve.level && read(row) === 0))
    .map((row) => ({ at: Date.parse(row.at), value: read(row) / (curve.level ? 1 : row.seconds) }));
}

// Where rows are missing nothing is known: the line ends, and begins anew.
function stretches(points, stepMs) {
  const found = [];
  points.forEach((point, place) => {
    if (place === 0 || point.at - points[place - 1].at > 1.5 * stepMs) found.push([]);
    found.at(-1).push(point);
  });
  return found;
}

function paths(line, place, stepMs, x, y) {
  const at = (point) => `${x(point.at).toFixed(1)} ${y(point.value).toFixed(1)}`;
  const pieces = stretches(line.points, stepMs);
  // One alone would not be seen.
  const d = pieces.map((piece) => `M${piece.map(at).join("L")}${piece.length === 1 ? "h1" : ""}`).join("");
  const area = pieces.map((piece) => `M${x(piece[0].at).toFixed(1)} ${y(0)}L${piece.map(at).join("L")}L${x(piece.at(-1).at).toFixed(1)} ${y(0)}Z`).join("");
  return [...(place === 0 ? [make("path", { d: area, class: "area" })] : []), make("path", { d, "data-line": place })];
}

function axes(curve, marks, width, x, y) {
  const right = width - EDGE.right;
  const most = Math.max(2, Math.floor((width - EDGE.left) / MARK_PX));
  return make("g", { class: "axes", "aria-hidden": "true" },
    ...marks.flatMap((value) => [
      make("line", { x1: EDGE.left, x2: right, y1: y(value), y2: y(value) }),
      make("text", { x: EDGE.left - 6, y: y(value) + 4, "text-anchor": "end" }, curve.unit(value))]),
    ...timeMarks(state.since, state.until, zone, most).flatMap(({ at, kind }) => [
      make("line", { x1: x(at), x2: x(at), y1: EDGE.top, y2: HEIGHT - EDGE.bottom }),
      ...(x(at) > EDGE.left + 12 && x(at) < right - 12
        ? [make("text", { x: x(at), y: HEIGHT - 6, "text-anchor": "middle" }, marked[kind](at))] : [])]));
}

function summary(lines, curve) {
  return lines.filter(({ points }) => points.length).map(({ name, points }) => {
    const mean = points.reduce((sum, point) => sum + point.value, 0) / points.length;
    const most = points.reduce((most, each) => Math.max(most, each.value), 0);
    return filled(words.said, { name, mean: curve.unit(mean), most: curve.unit(most) });
  }).join("; ") || words.nothing;
}

function figure(curve, stepMs) {
  const width = Math.max(280, curves.clientWidth);
  const lines = curve.lines.map(([name, read]) => ({ name, points: values(curve, read) }));
  const most = lines.flatMap((line) => line.points).reduce((most, point) => Math.max(most, point.value), 0);
  const marks = valueMarks(most, unitOf(curve, most));
  const x = (at) => EDGE.left + ((at - state.since) / (state.until - state.since)) * (width - EDGE.left - EDGE.right);
  const y = (value) => HEIGHT - EDGE.bottom - (value / marks.at(-1)) * (HEIGHT - EDGE.top - EDGE.bottom);
  const said = summary(lines, curve);
  const reading = make("small", { class: "reading" }, said);
  const drawing = make("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": `${curve.title}: ${said}`, class: "curve" },
    axes(curve, marks, width, x, y), ...lines.flatMap((line, place) => paths(line, place, stepMs, x, y)));
  follow(drawing, { curve, lines, stepMs, x, y, width, say: (text) => { reading.textContent = text ?? said; } });
  return make("figure", {},
    make("figcaption", {}, make("b", {}, curve.title), ...lines.map(({ name }, place) => make("span", { class: "key", "data-line": place }, name))),
    drawing, reading);
}

// What was measured where one points at, or touches.
function follow(drawing, { curve, lines, stepMs, x, y, width, say }) {
  const line = make("line", { y1: EDGE.top, y2: HEIGHT - EDGE.bottom });
  const dots = lines.map((_, place) => make("circle", { r: 3.5, "data-line": place }));
  const cursor = make("g", { class: "cursor", visibility: "hidden" }, line, ...dots);
  drawing.append(cursor);
  drawing.addEventListener("pointermove", (event) => {
    const box = drawing.getBoundingClientRect();
    const share = ((event.clientX - box.left) / box.width * width - EDGE.left) / (width - EDGE.left - EDGE.right);
    const at = state.since + Math.min(1, Math.max(0, share)) * (state.until - state.since);
    const nearest = lines.map(({ points }) => points.reduce((best, each) => !best || Math.abs(each.at - at) < Math.abs(best.at - at) ? each : best, null));
    const found = nearest.map((point) => point && Math.abs(point.at - at) <= stepMs ? point : null);
    const first = found.find(Boolean);
    cursor.setAttribute("visibility", "visible");
    for (const end of ["x1", "x2"]) line.setAttribute(end, x(first?.at ?? at));
    found.forEach((point, place) => {
      dots[place].setAttribute("visibility", point ? "visible" : "hidden");
      if (point) { dots[place].setAttribute("cx", x(point.at)); dots[place].setAttribute("cy", y(point.value)); }
    });
    const what = lines.flatMap(({ name }, place) => found[place] ? [`${name} ${curve.unit(found[place].value)}`] : []);
    say(`${moment(first?.at ?? at)}: ${what.join(", ") || words.unmeasured}`);
  });
  drawing.addEventListener("pointerleave", () => { cursor.setAttribute("visibility", "hidden"); say(null); });
}

function table() {
  const heads = CURVES.flatMap(({ title, lines }) => lines.map(([name]) => `${title}: ${name}`));
  const rows = state.rows.filter((row) => row.seconds > 0).reverse().map((row) => make("tr", {},
    make("th", { scope: "row" }, whole(Date.parse(row.at))),
    ...CURVES.flatMap((curve) => curve.lines.map(([, read]) => make("td", {}, curve.level && read(row) === 0 ? "–"
      : curve.unit(read(row) / (curve.level ? 1 : row.seconds)))))));
  return make("div", { class: "table-responsive" }, make("table", { class: "table table-sm" },
    make("thead", {}, make("tr", {}, ...[zone, ...heads].map((head) => make("th", { scope: "col" }, head)))),
    make("tbody", {}, ...rows)));
}

function draw() {
  const stepMs = Number(choice.selectedOptions[0].dataset.stepSeconds) * 1000;
  details.hidden = !state.rows?.length;
  if (state.rows || state.error) curves.dataset.drawn = "1";
  if (state.error || !state.rows?.length) {
    const text = state.error || (state.rows ? words.nothing : "…");
    curves.replaceChildren(make("p", { class: state.error ? "text-danger" : "text-body-secondary" }, text));
    return;
  }
  curves.replaceChildren(...CURVES.map((curve) => figure(curve, stepMs)));
  details.querySelector(".rows").replaceChildren(...(details.open ? [table()] : []));
}

async function load() {
  const { step, seconds } = choice.selectedOptions[0].dataset;
  const until = Date.now();
  const since = until - Number(seconds) * 1000;
  const asked = ++state.asked;
  const query = new URLSearchParams({ step, from: new Date(since).toISOString(), to: new Date(until).toISOString() });
  let rows = null;
  let error = "";
  try {
    const answer = await fetch(`${address}?${query}`);
    const body = await answer.json();
    if (answer.ok) rows = body;
    else error = body.detail ?? words.unreadable;
  } catch {
    error = words.silent;
  }
  // Another period was chosen meanwhile: its own answer comes.
  if (asked !== state.asked) return;
  Object.assign(state, { rows, error, since, until });
  draw();
}

choice.addEventListener("change", () => { state.rows = null; load(); });
details.addEventListener("toggle", draw);
let width = curves.clientWidth;
new ResizeObserver(() => {
  if (curves.clientWidth === width) return;
  width = curves.clientWidth;
  draw();
}).observe(curves);
setInterval(() => { if (!document.hidden) load(); }, FRESH_MS);
load();
