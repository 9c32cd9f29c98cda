// Costs of all configurations: each with its interval, against latency, split into phases, along a search.
"use strict";
(() => {
  const COSTS = ["joules_per_token", "joules_per_good_request", "joules_per_request", "joules_per_total_token",
    "gpu_joules", "cpu_joules", "tokens_per_second", "requests_per_second", "goodput", "ttft_ms", "ttft_p99_ms",
    "tpot_ms", "tpot_p99_ms", "e2el_p99_ms", "power_w", "peak_memory_bytes", "seconds", "load_seconds"];
  const LATENCIES = ["tpot_p99_ms", "ttft_p99_ms", "e2el_p99_ms", "itl_p99_ms", "tpot_ms", "ttft_ms", "e2el_ms",
    "itl_ms", "seconds"];
  const PARETO = ["joules_per_token", "joules_per_good_request", "joules_per_request", "joules_per_total_token",
    "tokens_per_second"];
  const ROWS_SEEN = 24;
  const chosen = (id) => document.getElementById(id).value;
  const shown = () => { const seen = lem.shown(); return lem.run.rows.filter((_, place) => seen.has(place)); };
  const detail = (row) => lem.detail(lem.run.rows.indexOf(row));
  const reason = (row, key) => (lem.value(row, key) || {}).reason || "it was not part of this measurement";
  const spread = (values) => Math.max(...values) / Math.max(Math.min(...values), 1e-300);
  lem.axisType = (values) => (values.every((each) => each > 0) && spread(values) > 30 ? "log" : "value");

  // Dots that are filled where something was measured, hollow where it is an estimate.
  lem.dot = (colour, guess) => (guess ? { color: lem.colour("back"), borderColor: colour, borderWidth: 2 } : { color: colour });

  function costs(width) {
    const key = chosen("costs-metric");
    const rows = shown();
    const found = rows.map((row) => [row, lem.value(row, key)]);
    const known = found.filter(([, value]) => value && value.value !== null);
    const sign = lem.higher(key) ? -1 : 1;
    known.sort(([, a], [, b]) => sign * (a.value - b.value));
    if (!known.length) return { empty: true, words: nothing(rows, key) };
    const scale = lem.scale(known.map(([, each]) => each.value), lem.unit(key));
    const at = (value) => value * scale.factor;
    const most = width < 500 ? 18 : 44;
    const [first, best] = known[0];
    const few = known.length > ROWS_SEEN;
    return {
      words: `${key} of ${known.length} configurations, the best first: ${first.name} with ${lem.told(best, scale)}`
        + (known.length < rows.length ? `; ${rows.length - known.length} have none, the table says why.` : "."),
      height: 90 + 24 * Math.min(known.length, ROWS_SEEN),
      click: ({ dataIndex }) => detail(known[dataIndex][0]),
      option: {
        grid: { left: 8, right: few ? 48 : 24, top: 8, bottom: 32 },
        legend: undefined,
        tooltip: { ...lem.base().tooltip, formatter: ({ dataIndex }) => tip(known[dataIndex], scale) },
        xAxis: lem.axis({ type: lem.axisType(known.map(([, each]) => each.value)), name: scale.unit, nameGap: 28,
          min: lem.axisType(known.map(([, each]) => each.value)) === "value" ? 0 : undefined }),
        yAxis: lem.axis({ type: "category", inverse: true, data: known.map(([row]) => row.name), splitLine: { show: false },
          label: { formatter: (name) => lem.brief(name, most), interval: 0 } }),
        dataZoom: few ? [{ type: "slider", yAxisIndex: 0, startValue: 0, endValue: ROWS_SEEN - 1, right: 4, width: 18,
          showDetail: false, brushSelect: false }] : [],
        series: [
          lem.whiskers(known.map(([, each], y) => (each.low === null ? null : [at(each.value), y, at(each.low), at(each.high)]))
            .filter(Boolean), "x", lem.line(0)),
          { type: "scatter", z: 3, symbolSize: 11, data: known.map(([, each], y) =>
            ({ value: [at(each.value), y], itemStyle: lem.dot(lem.line(0), each.guess) })) },
        ],
      },
      table: () => ({ heads: ["configuration", scale.unit || key, "interval", "source"], rows: [
        ...known.map(([row, each]) => [row.name, lem.told(each, scale, false), lem.interval(each, scale), each.guess ? "estimated" : "measured"]),
        ...found.filter(([, each]) => !each || each.value === null).map(([row]) => [row.name, null, null, reason(row, key)]),
      ] }),
    };
  }

  function nothing(rows, key) {
    if (!rows.length) return "The filter leaves no configuration.";
    return `${key} was not measured: ${[...new Set(rows.map((row) => reason(row, key)))].join("; ")}`;
  }

  function tip([row, value], scale) {
    const interval = value.low === null ? "no interval" : `${lem.interval(value, scale)}, ${value.covers}`;
    return `${row.name}\n${lem.told(value, scale)}${value.guess ? " (estimated)" : ""}\n${interval}\n${row.line}`;
  }

  // What no other beats in both: latency upwards, cost only ever better.
  lem.front = (points, higher) => {
    const sorted = [...points].sort((a, b) => a.x - b.x || (higher ? b.y - a.y : a.y - b.y));
    const found = [];
    for (const point of sorted) {
      const last = found[found.length - 1];
      if (!last || (higher ? point.y > last.y : point.y < last.y)) found.push(point);
    }
    return found;
  };

  function pareto() {
    const [latency, cost] = [chosen("pareto-latency"), chosen("pareto-cost")];
    if (!latency || !cost) return { empty: true, words: `Nothing to draw: ${latency ? "no cost" : "no latency"} was measured of any configuration.` };
    const rows = shown();
    const known = rows.map((row) => ({ row, a: lem.value(row, latency), b: lem.value(row, cost) }))
      .filter(({ a, b }) => a && b && a.value !== null && b.value !== null);
    if (!known.length) return { empty: true, words: nothing(rows, rows.some((row) => lem.value(row, cost)?.value) ? latency : cost) };
    const x = lem.scale(known.map(({ a }) => a.value), lem.unit(latency));
    const y = lem.scale(known.map(({ b }) => b.value), lem.unit(cost));
    const models = [...new Set(known.map(({ row }) => row.model))];
    const groups = models.map((model) => known.filter(({ row }) => row.model === model)
      .map((each) => ({ ...each, x: each.a.value * x.factor, y: each.b.value * y.factor })));
    const fronts = groups.map((points) => lem.front(points, lem.higher(cost)));
    const on = new Set(fronts.flat().map(({ row }) => row));
    const series = groups.flatMap((points, place) => [
      { name: models[place] || "window", type: "scatter", symbol: lem.SHAPES[place % 8], symbolSize: 11, color: lem.line(place),
        data: points.map((each) => ({ value: [each.x, each.y], each, itemStyle: lem.dot(lem.line(place), each.b.guess) })) },
      { name: models[place] || "window", type: "line", step: "end", symbol: "none", silent: true, color: lem.line(place),
        lineStyle: { width: 2, type: place % 2 ? "dashed" : "solid" }, data: fronts[place].map((each) => [each.x, each.y]) },
    ]);
    const names = fronts.flat().slice(0, 5).map(({ row }) => row.name).join(", ");
    return {
      words: `${cost} against ${latency} of ${known.length} configurations; ${on.size} on the front: ${names}${on.size > 5 ? " …" : "."}`,
      height: 420,
      click: ({ data }) => data && data.each && detail(data.each.row),
      option: {
        legend: { ...lem.base().legend, data: models.map((each) => each || "window"), show: models.length > 1 },
        grid: { left: 36, right: 24, top: models.length > 1 ? 56 : 16, bottom: 36 },
        tooltip: { ...lem.base().tooltip, formatter: ({ data: { each } }) =>
          `${each.row.name}\n${cost} ${lem.told(each.b, y)}\n${latency} ${lem.told(each.a, x)}\n${each.row.line}` },
        xAxis: lem.axis({ type: lem.axisType(known.map(({ a }) => a.value)), name: `${latency} (${x.unit})`, nameGap: 28 }),
        yAxis: lem.axis({ type: lem.axisType(known.map(({ b }) => b.value)), name: `${cost} (${y.unit})`, nameGap: 44 }),
        series,
      },
      table: () => ({ heads: ["configuration", `${latency} (${x.unit})`, `${cost} (${y.unit})`, "on the front", "source"],
        rows: groups.flat().map((each) => [each.row.name, lem.number(each.x), lem.number(each.y), on.has(each.row) ? "yes" : "no",
          each.b.guess ? "estimated" : "measured"]) }),
    };
  }

  function phases() {
    const splits = lem.run.phases;
    if (!splits.length) return { empty: true, words: "Prefill and decode were not split here; lem_energy.phases(…) in a test does." };
    const name = (split) => split.test.split("::").pop() + (split.name ? ` · ${split.name}` : "");
    const joules = (split, name) => (split[name] ? split[name][1] : null);
    const known = splits.filter((split) => joules(split, "prefill") !== null || joules(split, "decode") !== null);
    // A pass and minutes of traffic have no scale in common: their shares have.
    const share = (split, name) => (100 * joules(split, name)) / (split.whole || joules(split, "prefill") + joules(split, "decode") + joules(split, "base"));
    const bar = (name, place) => ({ name, type: "bar", stack: "pass", color: lem.line(place), barMaxWidth: 28,
      data: known.map((split) => (joules(split, name) === null ? null : share(split, name))),
      itemStyle: { borderColor: lem.colour("back"), borderWidth: 1, decal: place ? undefined : { symbol: "rect", dashArrayX: [1, 0], dashArrayY: [3, 4], rotation: -0.8, color: lem.colour("back") } } });
    const part = ([tokens, joules, each, low, high, , why]) => (each === null ? why || "unknown"
      : `${lem.number(each * 1e3)} mJ/token (${low === null ? "no interval" : `${lem.number(low * 1e3)}..${lem.number(high * 1e3)}`}), ${lem.number(joules)} J for ${tokens} tokens`);
    const base = (told) => (!told ? "in the phases" : told[2] === null ? told[5] || "unknown"
      : `${lem.number(told[2])} W (${lem.number(told[3])}..${lem.number(told[4])}), ${lem.number(told[1])} J in ${lem.number(told[0])} s`);
    const told = (split, name) => (name === "base" ? base(split.base) : part(split[name]));
    return {
      words: known.length ? `Shares of the joules of one pass (windows), or of all steady time (regression): prefill and decode of ${known.length} workloads.` : "No phase could be told apart; the table says why.",
      height: 110 + 44 * known.length,
      option: {
        grid: { left: 8, right: 24, top: 40, bottom: 32 },
        tooltip: { ...lem.base().tooltip, formatter: ({ seriesName, dataIndex }) =>
          `${name(known[dataIndex])}\n${seriesName}: ${told(known[dataIndex], seriesName)}` },
        xAxis: lem.axis({ type: "value", name: "% of joules", nameGap: 26 }),
        yAxis: lem.axis({ type: "category", inverse: true, data: known.map(name), label: { formatter: (each) => lem.brief(each, 26) } }),
        series: [bar("prefill", 0), bar("decode", 1), ...(known.some((split) => split.base) ? [bar("base", 2)] : [])],
      },
      table: () => ({ heads: ["workload", "method", "prefill", "decode", "base", "off by", "source"],
        rows: splits.map((split) => [name(split), [split.method, ...split.notes].join("; "), part(split.prefill), part(split.decode), base(split.base),
          split.error === null ? null : `${lem.number(100 * split.error)} %`, split.guess ? "estimated" : "measured"]) }),
    };
  }

  function searches() {
    const all = lem.run.searches;
    if (!all.length) return { empty: true, words: "No search was made here; lem_energy.search(…) in a test looks for the cheapest setting." };
    const drawn = all.filter(({ unit, over }) => unit === all[0].unit && over === all[0].over).slice(0, 8);
    const scale = lem.scale(drawn.flatMap(({ points }) => points.map((point) => point[1])), all[0].unit);
    const name = ({ test }) => test.split("::").pop();
    const values = [...new Set(drawn.flatMap(({ points }) => points.map(([value]) => value)))].sort((a, b) => a - b);
    const mark = (search, [value, , , , , meets]) => (!meets ? "misses" : value === search.best ? "best" : "");
    const series = drawn.flatMap((search, place) => {
      const points = search.points.filter((point) => point[1] !== null);
      const at = (each) => each * scale.factor;
      return [
        { name: name(search), type: "line", color: lem.line(place), symbol: lem.SHAPES[place], symbolSize: 9, data: points.map((point) => ({
          value: [String(point[0]), at(point[1])], search, point, symbol: point[5] ? lem.SHAPES[place] : "path://M0,0L10,10M10,0L0,10",
          symbolSize: point[0] === search.best ? 16 : 9, itemStyle: { color: lem.line(place), borderColor: lem.line(place), borderWidth: point[5] ? 0 : 2 } })) },
        lem.whiskers(points.filter((point) => point[2] !== null).map((point) =>
          [String(point[0]), at(point[1]), at(point[2]), at(point[3])]), "y", lem.line(place)),
      ];
    });
    return {
      words: `What each ${all[0].over} came to in ${drawn.length} of ${all.length} searches for the best ${all[0].objective}: large is the best, crosses miss the service level.`,
      option: {
        legend: { ...lem.base().legend, data: drawn.map(name), formatter: (each) => lem.brief(each, 40) },
        grid: { left: 36, right: 24, top: 40, bottom: 36 },
        tooltip: { ...lem.base().tooltip, formatter: ({ data: { search, point } }) =>
          `${name(search)}\n${search.over} ${point[0]}: ${lem.number(point[1] * scale.factor)} ${scale.unit} ${mark(search, point)}\n${point[6] || ""}` },
        xAxis: lem.axis({ type: "category", data: values.map(String), name: all[0].over, nameGap: 26 }),
        yAxis: lem.axis({ type: "value", scale: true, name: `${all[0].objective} (${scale.unit})`, nameGap: 48 }),
        series,
      },
      table: () => ({ heads: ["search", all[0].over, all[0].objective, "interval", "latency (ms)", "service level"],
        rows: all.flatMap((search) => search.points.map((point) => [name(search), point[0], `${lem.number(point[1])} ${search.unit}`,
          point[2] === null ? null : `${lem.number(point[2])}..${lem.number(point[3])}`, lem.number(point[4]),
          point[5] ? (point[0] === search.best ? "kept, the best" : "kept") : point[6] || "missed"])) }),
    };
  }

  lem.costs = () => {
    const rows = lem.run.rows;
    const pairs = (keys) => keys.map((key) => [key, key]);
    const known = lem.known(rows, [...new Set([...COSTS, ...Object.keys(lem.run.metrics)])]);
    lem.select("costs-metric", pairs(known), undefined, () => lem.draw("costs"));
    lem.select("pareto-latency", pairs(lem.known(rows, LATENCIES)), undefined, () => lem.draw("pareto"));
    lem.select("pareto-cost", pairs(lem.known(rows, PARETO)), undefined, () => lem.draw("pareto"));
    lem.chart("costs", costs);
    lem.chart("pareto", pareto);
    lem.chart("phases", phases);
    lem.chart("searches", searches);
    document.addEventListener("lem-filter", () => lem.draw("costs", "pareto", "history"));
  };
})();
