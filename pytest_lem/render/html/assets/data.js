// The run as data: unpacked, and its numbers in words.
"use strict";
(() => {
  async function unpacked(text) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  }

  const EMPTY = [null, null, null, 0, 0, -1, -1, 0];
  const SI = [[1e-9, "n"], [1e-6, "µ"], [1e-3, "m"], [1, ""], [1e3, "k"], [1e6, "M"], [1e9, "G"]];
  const BINARY = [[1, ""], [2 ** 10, "Ki"], [2 ** 20, "Mi"], [2 ** 30, "Gi"], [2 ** 40, "Ti"]];
  const COUNTS = ["tok/s", "req/s", "1", "°C", "MHz"];

  lem.load = async () => { lem.run = await unpacked(document.getElementById("data").textContent); };
  lem.text = (place) => (place < 0 || place === undefined ? "" : lem.run.texts[place]);

  // A metric of a row; null where the row knows nothing of it.
  lem.value = (row, key) => {
    const found = row.m[key];
    if (!found) return null;
    const [value, low, high, n, guess, covers, reason, shared] = EMPTY.map((none, place) => found[place] ?? none);
    return { value, low, high, n, guess: Boolean(guess), covers: lem.text(covers), reason: lem.text(reason), shared };
  };

  // The unit in which values are shown, as the tables choose it: by the median.
  lem.scale = (values, unit) => {
    const sizes = values.filter((each) => each).map(Math.abs).sort((a, b) => a - b);
    const size = sizes[Math.floor((sizes.length - 1) / 2)];
    if (!size || COUNTS.includes(unit)) return { factor: 1, unit: unit === "1" ? "" : unit };
    if (unit === "B") {
      const [step, prefix] = BINARY.filter(([each]) => each <= Math.max(size, 1)).pop();
      return { factor: 1 / step, unit: `${prefix}B` };
    }
    const [base, factor] = unit === "ms" ? ["s", 1e-3] : [unit, 1];
    const most = size * factor >= 1e4 ? Infinity : 1;
    const [step, prefix] = SI.filter(([each]) => each <= most && each <= size * factor).pop() || SI[0];
    return { factor: factor / step, unit: `${prefix}${base}` };
  };

  lem.number = (value, digits = 3) => {
    if (value === null || value === undefined) return "–";
    if (value && (Math.abs(value) < 1e-4 || Math.abs(value) >= 1e7)) return value.toExponential(digits - 1);
    const places = value ? Math.max(0, digits - 1 - Math.floor(Math.log10(Math.abs(value)))) : 0;
    return value.toFixed(places);
  };

  lem.told = (found, scale, unit = true) => {
    if (!found || found.value === null) return "–";
    const digits = found.low !== null && found.high - found.low < 0.02 * Math.abs(found.value) ? 4 : 3;
    return `${found.guess ? "~" : ""}${lem.number(found.value * scale.factor, digits)}${unit ? ` ${scale.unit}` : ""}`;
  };

  lem.interval = (found, scale) => {
    if (!found || found.value === null || found.low === null) return "–";
    return `${lem.number(found.low * scale.factor, 4)}..${lem.number(found.high * scale.factor, 4)}`;
  };

  // The end of a name tells more than its beginning.
  lem.brief = (name, most) => (name.length <= most ? name : `…${name.slice(1 - most)}`);

  // Metrics that some of the rows have a value of, out of `keys`, else out of all.
  lem.known = (rows, keys = Object.keys(lem.run.metrics)) =>
    keys.filter((key) => rows.some((row) => row.m[key] && row.m[key][0] !== null));

  lem.unit = (key) => (lem.run.metrics[key] || ["", "", ""])[0];
  lem.higher = (key) => (lem.run.metrics[key] || ["", "", ""])[1] === "higher";
})();
