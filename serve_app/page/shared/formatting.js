// Numbers, times and messages as text, in the format of the reader's language.

const counts = new Intl.NumberFormat();
const moments = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const clocks = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });

/** "1 passage", "2,048 passages". */
export function many(count, one, more = `${one}s`) {
  return `${counts.format(count)} ${count === 1 ? one : more}`;
}

/** "900 bytes", "12 KB", "3.4 MB", "32 MB"; a KB has 1024 bytes, as in the limits of the service. */
export function size(bytes) {
  if (bytes < 1024) return many(bytes, "byte");
  if (bytes < 1024 ** 2) return `${Math.round(bytes / 1024)} KB`;
  const megabytes = bytes / 1024 ** 2;
  return `${megabytes.toFixed(megabytes < 10 && megabytes % 1 ? 1 : 0)} MB`;
}

/** "0.04 s", "12.3 s", "2 min 5 s". */
export function seconds(value) {
  if (value >= 100) return `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`;
  return `${value.toFixed(value < 1 ? 2 : 1)} s`;
}

/** When it was, for a person: today only the time. */
export function moment(epochSeconds) {
  const then = new Date(epochSeconds * 1000);
  const today = then.toDateString() === new Date().toDateString();
  return today ? `today, ${clocks.format(then)}` : moments.format(then);
}

/** A message of the service as a sentence. */
export function sentence(message) {
  const text = String(message ?? "").trim();
  if (!text) return "";
  return text[0].toUpperCase() + text.slice(1) + (/[.!?…]$/.test(text) ? "" : ".");
}

/** "pages 2–3", "slide 4", or nothing. */
export function pages(first, last, word = "page") {
  if (first === null || first === undefined) return "";
  return last && last !== first ? `${word}s ${first}–${last}` : `${word} ${first}`;
}

/** A picture's place in a job's input: the n-th has the seed `seed` + n. */
export function seedOf(input, number) {
  return (input.seed + number) % 2 ** 32;
}
