// One configuration: its rounds cycle by cycle, its power, clock and temperature over time, its metrics, its engine.
"use strict";
(() => {
  const ROUND_METRICS = ["joules_per_token", "gpu_joules", "cpu_joules", "tokens_per_second", "power_w", "seconds"];
  const S = 1e-3;
  const row = () => lem.run.rows[Number(document.getElementById("details-row").value)];
  const cycle = () => row().cycles[Number(document.getElementById("details-cycle").value)];
  const bad = (each) => new Map((each.bad || []).map(([place, why]) => [place, lem.text(why)]));
  const clock = (ms) => `${lem.number(ms * S, 4)} s`;
  const deviceName = (device) => {
    const [id, name] = [lem.text(device.id), lem.text(device.name)];
    return device.kind === "gpu" ? `${name || "GPU"} ${id.slice(0, 8)}` : `${id}${name ? ` (${name})` : ""}`;
  };

  // Every round in the order of time, over all cycles, with its place on the axis.
  function rounds(key) {
    const found = [];
    row().cycles.forEach((each, place) => {
      const invalid = bad(each);
      const said = new Map((each.said || []).map(([round, notes]) => [round, notes.map(lem.text).join("; ")]));
      (each.v && each.v[key] ? each.v[key] : each.t.map(() => null)).forEach((value, round) => found.push({
        cycle: place, round, value, x: found.length, warm: round < each.w, why: invalid.get(round), note: said.get(round),
      }));
    });
    return found;
  }

  const state = ({ warm, why }) => (why ? `invalid: ${why}` : warm ? "warm-up" : "valid");

  function roundsChart() {
    const key = document.getElementById("rounds-metric").value;
    const all = rounds(key);
    if (!key) return { empty: true, words: `No round of ${row().name} has a number.` };
    const known = all.filter(({ value }) => value !== null);
    const scale = lem.scale(known.map(({ value }) => value), lem.unit(key));
    const at = (each) => each.value * scale.factor;
    const cycles = row().cycles.map((each, place) => all.filter((round) => round.cycle === place));
    const series = cycles.flatMap((each, place) => {
      const measured = each.filter((round) => !round.warm && !round.why && round.value !== null);
      const mean = measured.reduce((sum, round) => sum + at(round), 0) / measured.length;
      const name = `cycle ${row().cycles[place].i}`;
      const colour = lem.line(place);
      const point = (round, more) => ({ value: [round.x, at(round)], round, ...more });
      return [
        { name, type: "line", color: colour, symbol: lem.SHAPES[place % 8], symbolSize: 8, data: measured.map((round) => point(round)),
          markLine: measured.length > 1 ? { silent: true, symbol: "none", label: { show: false }, lineStyle: { color: colour, type: "dotted" },
            data: [[{ coord: [measured[0].x, mean] }, { coord: [measured[measured.length - 1].x, mean] }]] } : undefined,
          markArea: each.length ? { silent: true, itemStyle: { color: place % 2 ? "transparent" : lem.colour("warm") },
            data: [[{ xAxis: each[0].x - 0.5 }, { xAxis: each[each.length - 1].x + 0.5 }]] } : undefined },
        { name, type: "scatter", color: colour, symbolSize: 8, data: each.filter((round) => round.warm && !round.why && round.value !== null)
          .map((round) => point(round, { itemStyle: lem.dot(colour, true) })) },
        { name, type: "scatter", symbol: "path://M0,0L10,10M10,0L0,10", symbolSize: 10,
          data: each.filter((round) => round.why && round.value !== null)
            .map((round) => point(round, { itemStyle: { color: lem.colour("bad"), borderColor: lem.colour("bad"), borderWidth: 2 } })) },
      ];
    });
    const counts = [known.filter(({ warm, why }) => !warm && !why), all.filter(({ warm }) => warm), all.filter(({ why }) => why)];
    const many = cycles.length > 1 && cycles.length < 9;
    return {
      words: `${key} of ${row().name}, round by round: ${counts[0].length} valid, ${counts[1].length} of warm-up, ${counts[2].length} invalid, in ${cycles.length} ${cycles.length > 1 ? "cycles" : "cycle"}.`,
      option: {
        legend: { ...lem.base().legend, show: many, data: row().cycles.map(({ i }) => `cycle ${i}`) },
        grid: { left: 36, right: 16, top: many ? 40 : 16, bottom: 36 },
        tooltip: { ...lem.base().tooltip, formatter: ({ data: { round } }) =>
          `cycle ${row().cycles[round.cycle].i}, round ${round.round}\n${lem.number(at(round), 4)} ${scale.unit}\n${state(round)}${round.note ? `\n${round.note}` : ""}` },
        xAxis: lem.axis({ type: "value", min: -0.5, max: all.length - 0.5, name: "rounds in order", nameGap: 12, label: { show: false },
          splitLine: { show: false }, axisTick: { show: false } }),
        yAxis: lem.axis({ type: "value", scale: true, name: `${key} (${scale.unit})`, nameGap: 48,
          axisLine: { onZero: false, lineStyle: { color: lem.colour("soft") } } }),
        series,
      },
      table: () => ({ heads: ["cycle and round", `${key} (${scale.unit})`, "began", "lasted", "state", "notes"],
        rows: all.map((each) => { const of = row().cycles[each.cycle]; return [`cycle ${of.i}, round ${each.round}`,
          each.value === null ? null : lem.number(at(each), 4), clock(of.t[each.round]), clock(of.d[each.round]), state(each), each.note || ""]; }) }),
    };
  }

  // Power of a device: idle at an edge, a window's mean (or tick to tick within it), idle again; a gap between rounds.
  function curve(of, device) {
    const fine = new Map((device.fine || []).map(([place, times, powers]) => [place, [times, powers]]));
    return of.t.flatMap((start, place) => {
      const power = device.w[place];
      const end = start + of.d[place];
      const idle = (device.idle || [])[place] || [];
      const points = idle.length ? [[start + idle[0], idle[1]]] : [];
      if (fine.has(place)) fine.get(place)[0].forEach((time, each) => points.push([time, fine.get(place)[1][each]]));
      else if (power !== null) points.push([start, power], [end, power]);
      if (idle.length) points.push([end + idle[2], idle[3]]);
      return [...points.map(([time, watts]) => [time * S, watts]), [null, null]];
    });
  }

  function windows(of) {
    const invalid = bad(of);
    const area = (start, place) => [{ xAxis: start * S, itemStyle: { color: lem.colour(place < of.w ? "warm" : "window"),
      borderColor: invalid.has(place) ? lem.colour("bad") : "transparent", borderWidth: 1 } }, { xAxis: (start + of.d[place]) * S }];
    return { name: "windows", type: "line", data: [], silent: true, tooltip: { show: false },
      markArea: { silent: true, data: of.t.map(area) } };
  }

  function power() {
    const of = cycle();
    const devices = ((of && of.dev) || []).filter((device) => device.w.some((watts) => watts !== null));
    if (!devices.length) return { empty: true, words: `Not recorded: ${noPower(of)}` };
    const idle = devices.some((device) => device.idle);
    const guess = devices.some((device) => device.guess);
    return {
      words: `Power of ${devices.map(deviceName).join(", ")} in cycle ${of.i} of ${row().name}: ${of.t.length - of.w} measured rounds after ${of.w} of warm-up`
        + `${idle ? ", idle before and after each" : ""}${guess ? "; estimated where the name says so, not measured" : ""}.`,
      option: {
        legend: { ...lem.base().legend, show: devices.length > 1, data: devices.map(label), formatter: (each) => lem.brief(each, 48) },
        grid: { left: 36, right: 16, top: devices.length > 1 ? 40 : 16, bottom: 36 },
        tooltip: { ...lem.base().tooltip, trigger: "axis", valueFormatter: (watts) => `${lem.number(watts)} W` },
        xAxis: lem.axis({ type: "value", min: "dataMin", max: "dataMax", name: "seconds since the cycle's first round", nameGap: 26, splitLine: { show: false },
          label: { showMinLabel: false, showMaxLabel: false } }),
        yAxis: lem.axis({ type: "value", min: 0, name: "W", nameGap: 40 }),
        series: [windows(of), ...devices.map((device, place) => ({ name: label(device), type: "line", color: lem.line(place), symbol: "none",
          connectNulls: false, lineStyle: { width: 2, type: device.guess ? "dashed" : "solid" }, data: curve(of, device) }))],
      },
      table: () => ({ heads: ["round", "window", ...devices.map((device) => `${label(device)} (W)`)],
        rows: of.t.map((start, place) => [`${place < of.w ? "warm-up " : ""}${place}`, `${clock(start)} to ${clock(start + of.d[place])}`,
          ...devices.map((device) => lem.number(device.w[place]))]) }),
    };
  }

  const label = (device) => deviceName(device) + (device.guess ? ", estimated" : "");

  function noPower(of) {
    if (!of) return "it has no cycle.";
    const reasons = (of.dev || []).flatMap((device) => (device.why || []).map((why) => `${deviceName(device)}: ${lem.text(why)}`));
    const why = (lem.value(row(), "power_w") || {}).reason;
    return `${reasons.join("; ") || why || "no meter read a device."}`;
  }

  // What a device told beside the rounds: `[round, ms, value]`.
  function states(of, device, key) {
    return (device[key] || []).flatMap((pair, place) => pair.map((value, side) =>
      [place, of.t[place] + (side ? of.d[place] : 0) + device.at[place][side], value])).filter(([, , value]) => value !== null);
  }

  const throttled = (of, device) => (device.hot || []).map(([place, side, why]) =>
    [of.t[place] + (side ? of.d[place] : 0) + device.at[place][side], lem.text(why)]);

  function clocks() {
    const of = cycle();
    const gpus = ((of && of.dev) || []).filter((device) => device.kind === "gpu");
    const told = gpus.filter((device) => device.mhz || device.deg);
    if (!told.length) return { empty: true, words: gpus.length
      ? "Not recorded: the meter of this run asked no GPU for its clock and temperature."
      : "Not recorded: only GPUs tell their clock and temperature, and no meter read a GPU here." };
    const series = told.flatMap((device, place) => [["mhz", "clock", 0], ["deg", "temperature", 1]].filter(([key]) => device[key]).map(([key, what, axis]) => ({
      name: `${deviceName(device)} ${what}`, type: "line", yAxisIndex: axis, color: lem.line(2 * place + axis), symbol: lem.SHAPES[axis], symbolSize: 6,
      lineStyle: { type: axis ? "dashed" : "solid" }, data: states(of, device, key).map(([, time, value]) => [time * S, value]) })));
    const hot = told.flatMap((device) => throttled(of, device).map(([time, why]) => `${clock(time)}, ${deviceName(device)}: ${why}`));
    return {
      words: `SM clock (MHz, solid) and temperature (°C, dashed) just outside of each window of cycle ${of.i} of ${row().name}.${hot.length ? ` Throttled in ${hot.length} of them, first at ${hot[0]}.` : ""}`,
      option: {
        legend: { ...lem.base().legend, data: series.map(({ name }) => name), formatter: (each) => lem.brief(each, 40) },
        grid: { left: 36, right: 36, top: 40, bottom: 36 },
        tooltip: { ...lem.base().tooltip, trigger: "axis" },
        xAxis: lem.axis({ type: "value", min: "dataMin", max: "dataMax", name: "seconds since the cycle's first round", nameGap: 26, splitLine: { show: false },
          label: { showMinLabel: false, showMaxLabel: false } }),
        yAxis: [lem.axis({ type: "value", min: 0, name: "MHz", nameGap: 44 }), lem.axis({ type: "value", scale: true, name: "°C", nameGap: 32, splitLine: { show: false } })],
        series: [windows(of), ...series],
      },
      table: () => ({ heads: ["device", "at", "clock (MHz)", "temperature (°C)", "throttled"], rows: told.flatMap((device) => {
        const [mhz, deg] = ["mhz", "deg"].map((key) => new Map(states(of, device, key).map(([, time, value]) => [time, value])));
        const why = new Map(throttled(of, device));
        const times = [...new Set([...mhz.keys(), ...deg.keys()])].sort((a, b) => a - b);
        return times.map((time) => [deviceName(device), clock(time), mhz.get(time) ?? null, deg.get(time) ?? null, why.get(time) || ""]);
      }) }),
    };
  }

  function metrics() {
    const told = Object.keys(row().m).map((key) => {
      const value = lem.value(row(), key);
      const scale = lem.scale([value.value], lem.unit(key));
      const source = value.value === null ? `not measured: ${value.reason}` : value.guess ? "estimated" : "measured";
      return { absent: value.value === null, cells: [key, lem.told(value, scale), lem.interval(value, scale), value.n || null,
        source + (value.shared ? ", shared with other lanes" : ""), value.covers, lem.run.metrics[key][2]] };
    });
    told.sort((a, b) => a.absent - b.absent);
    return { caption: `all metrics of ${row().name}`, heads: ["metric", "value", "interval", "n", "source", "covers", "definition"], rows: told.map(({ cells }) => cells) };
  }

  function engine() {
    const fields = row().engines.map((each) => each.map(lem.text)).map(([key, asked, seen]) =>
      [key, asked || "–", seen || "–", asked && seen && asked !== seen ? "differs" : ""]);
    const asked = row().asked.map((each) => each.map(lem.text)).map(([key, value]) => [key, value, "–", ""]);
    return { caption: `${row().name}: asked for, and observed in the running engine`, heads: ["field", "asked for", "observed", "note"],
      rows: [...fields, ...asked] };
  }

  function said() {
    const lines = row().cycles.flatMap((each) => [
      ...(each.steady === false ? [`cycle ${each.i}: not steady, warm-up ended at its cap`] : []),
      ...(["interrupted", "failed"].includes(lem.text(each.stop)) ? [`cycle ${each.i}: ${lem.text(each.stop)}`] : []),
      ...(each.notes || []).map((note) => `cycle ${each.i}: ${lem.text(note)}`),
      ...(each.bad || []).map(([place, why]) => `cycle ${each.i}, round ${place}: invalid, ${lem.text(why)}`),
      ...(each.said || []).flatMap(([place, notes]) => notes.map((note) => `cycle ${each.i}, round ${place}: ${lem.text(note)}`)),
    ]);
    // After what is wrong: a gap is only told.
    lines.push(...row().cycles.filter(({ gap }) => gap !== undefined).map((each) => `cycle ${each.i}: ${lem.text(each.gap)}`));
    const most = 12;
    const rest = lines.length > most ? [`… and ${lines.length - most} more; the table of rounds has them`] : [];
    return [...lines.slice(0, most), ...rest].map((textContent) => lem.element("li", { textContent }));
  }

  function show() {
    const up = row().cycles.filter(({ load }) => load !== undefined).map(({ load }) => `${lem.number(load)} s`);
    document.getElementById("details-line").textContent = `${row().line} · ${row().test}${up.length ? ` · engine up in ${up.join(", ")}` : ""}`;
    const pairs = row().cycles.map((each, place) => [place, `${each.i}`]);
    lem.select("details-cycle", pairs, pairs.length ? 0 : undefined, () => lem.draw("power", "clocks"));
    const known = ROUND_METRICS.filter((key) => row().cycles.some((each) => each.v && each.v[key]));
    const before = document.getElementById("rounds-metric").value;
    lem.select("rounds-metric", known.map((key) => [key, key]), known.includes(before) ? before : known[0], () => lem.draw("rounds"));
    document.getElementById("rounds-said").replaceChildren(...said());
    document.getElementById("details-metrics").replaceChildren(lem.table(metrics()));
    document.getElementById("details-engine").replaceChildren(row().engines.length ? lem.table(engine())
      : lem.element("p", { textContent: "A window of the test's own code: there is no engine." }));
    lem.draw("rounds", "power", "clocks");
  }

  // Shows a row and goes there.
  lem.detail = (place) => {
    document.getElementById("details-row").value = place;
    show();
    const heading = document.getElementById("details");
    heading.scrollIntoView();
    heading.focus({ preventScroll: true });
  };

  lem.details = () => {
    lem.chart("rounds", roundsChart);
    lem.chart("power", power);
    lem.chart("clocks", clocks);
    lem.select("details-row", lem.run.rows.map((each, place) => [place, each.name]), 0, show);
    for (const link of document.querySelectorAll("a[data-row]")) {
      link.addEventListener("click", (event) => { event.preventDefault(); lem.detail(Number(link.dataset.row)); });
    }
    show();
  };
})();
