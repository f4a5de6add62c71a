// Where the marks of a chart's axes stand: round values, and round times of the reader's own zone.

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const HOURS = [1, 2, 3, 6, 12].map((number) => number * HOUR);
const DAYS = [1, 2, 7].map((number) => number * DAY);
const MONTHS = [1, 2, 3, 6];
const MONDAY = 4 * DAY;  // the epoch was a Thursday

// Marks from 0 up to one that is not below `top`, at most five; in round parts of `unit`.
export function valueMarks(top, unit = 1) {
  const raw = (top || unit) / unit / 4;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].find((each) => each * power >= raw * 0.999) * power * unit;
  const count = Math.max(1, Math.ceil(top / step - 0.001));
  return Array.from({ length: count + 1 }, (_, number) => number * step);
}

// How much later the zone's clocks are then than UTC's.
function offset(at, zone) {
  const format = new Intl.DateTimeFormat("en-GB", {
    timeZone: zone, hourCycle: "h23", year: "numeric", month: "numeric", day: "numeric", hour: "numeric", minute: "numeric",
  });
  const part = Object.fromEntries(format.formatToParts(at).map(({ type, value }) => [type, Number(value)]));
  return Date.UTC(part.year, part.month - 1, part.day, part.hour, part.minute) - Math.floor(at / 60_000) * 60_000;
}

// Times from `since` to `until`, no more than `most`; each with whether it is an hour, a day or a month that begins.
export function timeMarks(since, until, zone, most) {
  const utc = (clock) => clock - offset(clock - offset(clock, zone), zone);
  const step = [...HOURS, ...DAYS].find((each) => (until - since) / each <= most);
  const marks = [];
  if (step) {
    const from = step === 7 * DAY ? MONDAY : 0;
    let clock = Math.ceil((since + offset(since, zone) - from) / step) * step + from;
    for (; utc(clock) <= until; clock += step) marks.push({ at: utc(clock), kind: clock % DAY ? "hour" : "day" });
    return marks;
  }
  const begin = new Date(since + offset(since, zone));
  const months = (until - since) / (30 * DAY);
  const every = MONTHS.find((each) => months / each <= most) ?? 12;
  for (let month = begin.getUTCMonth() + 1; ; month += every) {
    const at = utc(Date.UTC(begin.getUTCFullYear(), month, 1));
    if (at > until) return marks;
    marks.push({ at, kind: "month" });
  }
}
