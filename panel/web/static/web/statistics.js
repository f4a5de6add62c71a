// Curves of what a VM used, drawn from the statistics API into the card of the VM's page.
// The page is swapped while it is open: the period and the curves outlive that here.

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 600;
const HEIGHT = 120;
const FRESH_MS = 60_000;
const live = document.querySelector("main");
// What the panel says to its reader, in their language.
const words = JSON.parse(document.getElementById("curve-words").textContent);
const state = { period: null, rows: null, since: 0, until: 0, at: 0, asked: 0, error: "" };

// Each is what a row says, by second (memory: as it is); `percent` is of all CPUs of the VM.
const CURVES = [
  { title: words.cpu, unit: percent, lines: [[words.used, (row, cpus) => row.cpu_ns / 1e7 / cpus]] },
  { title: words.memory, unit: kibibytes, level: true, lines: [[words.used, (row) => row.rss_kib], [words.given, (row) => row.memory_kib]] },
  { title: words.disks, unit: bytes, lines: [[words.read, (row) => row.read_bytes], [words.written, (row) => row.write_bytes]] },
  { title: words.network, unit: bytes, lines: [[words.received, (row) => row.rx_bytes], [words.sent, (row) => row.tx_bytes]] },
];

function number(value, exact) {
  return value.toLocaleString(document.documentElement.lang, { maximumFractionDigits: exact ? 1 : 0 });
}

function percent(value) { return `${number(value, value < 10)} %`; }

function bytes(value) { return `${size(value)}/${words.second}`; }

function kibibytes(value) { return size(value * 1024); }

function size(value) {
  let place = 0;
  while (value >= 1024 && place < words.units.length - 1) { value /= 1024; place += 1; }
  return `${number(value, value < 10 && place)} ${words.units[place]}`;
}

const filled = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
const shown = (curve, read, row, cpus) => read(row, cpus) / (curve.level ? 1 : row.seconds);

function make(name, attributes = {}, ...children) {
  const made = name in { svg: 1, path: 1, title: 1 } ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const moment = (time) => new Date(time).toISOString().slice(0, 16).replace("T", " ");

// The values of a line, by the time at which their stretch begins; what was counted over no time is no value.
function values(curve, read, cpus) {
  return state.rows.filter((row) => row.seconds > 0).map((row) => ({ at: Date.parse(row.at), value: shown(curve, read, row, cpus) }));
}

// A path through the values; where rows are missing nothing is known, and the line ends.
function path(points, top, since, until, step) {
  let text = "";
  let before = -Infinity;
  for (const { at, value } of points) {
    const x = ((at - since) / (until - since)) * WIDTH;
    const y = HEIGHT - (value / top) * HEIGHT;
    const joins = at - before <= 1.5 * step;
    text += `${joins ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
    // One alone would not be seen.
    if (!joins) text += "h1";
    before = at;
  }
  return text;
}

function figure(curve, place, step) {
  const cpus = Number(place.dataset.cpus);
  const lines = curve.lines.map(([name, read]) => ({ name, points: values(curve, read, cpus) }));
  const every = lines.flatMap((line) => line.points.map((point) => point.value));
  const most = every.reduce((most, value) => Math.max(most, value), 0);
  const top = most || 1;
  const said = lines.map(({ name, points }) => {
    const mean = points.reduce((sum, point) => sum + point.value, 0) / (points.length || 1);
    const most = points.reduce((most, each) => Math.max(most, each.value), 0);
    return filled(words.said, { name, mean: curve.unit(mean), most: curve.unit(most) });
  }).join("; ");
  const drawing = make("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", class: "curve" },
    make("title", {}, `${curve.title}: ${said}`),
    ...lines.map(({ points }, number) => make("path", { d: path(points, top, state.since, state.until, step), "data-line": number })));
  return make("figure", {},
    make("figcaption", {}, make("b", {}, curve.title), " ",
      ...lines.map(({ name }, number) => make("span", { class: "key", "data-line": number }, name)),
      make("small", {}, filled(words.to, { most: curve.unit(top) }))),
    drawing,
    make("small", {}, said));
}

function table(place) {
  const cpus = Number(place.dataset.cpus);
  const heads = CURVES.flatMap(({ title, lines }) => lines.map(([name]) => `${title} ${name}`));
  const rows = state.rows.filter((row) => row.seconds > 0).reverse().map((row) => make("tr", {},
    make("td", {}, moment(row.at)),
    ...CURVES.flatMap((curve) => curve.lines.map(([, read]) => make("td", {}, curve.unit(shown(curve, read, row, cpus)))))));
  return make("div", { class: "scroll" }, make("table", {},
    make("thead", {}, make("tr", {}, ...["UTC", ...heads].map((head) => make("th", { scope: "col" }, head)))),
    make("tbody", {}, ...rows)));
}

function chosen(place) {
  const choice = place.querySelector("select");
  if (state.period && [...choice.options].some((option) => option.value === state.period)) choice.value = state.period;
  state.period = choice.value;
  const { step, seconds } = choice.selectedOptions[0].dataset;
  return { step, seconds: Number(seconds), stepMs: Number(choice.selectedOptions[0].dataset.stepSeconds) * 1000 };
}

function draw() {
  const place = live.querySelector("#statistics");
  if (!place) return;
  const { stepMs } = chosen(place);
  const curves = place.querySelector(".curves");
  const details = place.querySelector("details");
  if (state.error || !state.rows) {
    curves.replaceChildren(make("p", { class: state.error ? "error" : "" }, state.error || "…"));
    details.hidden = true;
    return;
  }
  details.hidden = !state.rows.length;
  if (!state.rows.length) {
    curves.replaceChildren(make("p", {}, words.nothing));
    return;
  }
  curves.replaceChildren(...CURVES.map((curve) => figure(curve, place, stepMs)),
    make("div", { class: "ends" }, make("small", {}, `${moment(state.since)} UTC`), make("small", {}, `${moment(state.until)} UTC`)));
  details.querySelector(".rows").replaceChildren(...(details.open ? [table(place)] : []));
}

async function load() {
  const place = live.querySelector("#statistics");
  if (!place) return;
  const { step, seconds } = chosen(place);
  const until = Date.now();
  const since = until - seconds * 1000;
  const asked = ++state.asked;
  const query = new URLSearchParams({ step, from: new Date(since).toISOString(), to: new Date(until).toISOString() });
  let rows = null;
  let error = "";
  try {
    const answer = await fetch(`/api/v1/vms/${place.dataset.vm}/statistics?${query}`);
    const body = await answer.json();
    if (answer.ok) rows = body;
    else error = body.detail ?? words.unreadable;
  } catch {
    error = words.silent;
  }
  // Another period was chosen meanwhile: its own answer comes.
  if (asked !== state.asked) return;
  Object.assign(state, { rows, error, since, until, at: until });
  draw();
}

live.addEventListener("change", (event) => {
  if (!event.target.matches("#statistics select")) return;
  state.period = event.target.value;
  state.rows = null;
  load();
});
live.addEventListener("toggle", (event) => { if (event.target.matches("#statistics details")) draw(); }, true);

// After a swap the card is empty again. Statistics come every ten minutes; a page that lives is read again each minute at most.
let opened = false;
new MutationObserver(() => {
  const place = live.querySelector("#statistics");
  if (!place) return;
  place.querySelector("details").open = opened;
  if (Date.now() - state.at > FRESH_MS) load();
  draw();
}).observe(live, { childList: true });
live.addEventListener("toggle", (event) => { if (event.target.matches("#statistics details")) opened = event.target.open; }, true);
load();
