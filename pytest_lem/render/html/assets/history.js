// How configurations came out in earlier runs.
"use strict";
(() => {
  const MOST = 8;
  const ONE = "One run only. `lem report RUN RUN…` shows how configurations came out over several.";

  function history() {
    const key = document.getElementById("history-metric").value;
    if (lem.run.runs.length < 2) return { empty: true, words: ONE };
    const seen = lem.shown();
    const rows = lem.run.rows.filter((row, place) => seen.has(place) && row.history && row.history[key]);
    if (!rows.length) return { empty: true, words: key ? `No configuration that the filter leaves has ${key} in any run.` : "No earlier run measured one of these configurations." };
    const drawn = rows.slice(0, MOST);
    const scale = lem.scale(drawn.flatMap((row) => row.history[key].map((point) => point[1])), lem.unit(key));
    const runs = lem.run.runs.map(({ started }) => started.slice(0, 16).replace("T", " "));
    const at = (value) => value * scale.factor;
    const series = drawn.flatMap((row, place) => [
      { name: row.name, type: "line", color: lem.line(place), symbol: lem.SHAPES[place], symbolSize: 9, data: row.history[key].map((point) => ({
        value: [point[0], at(point[1])], row, point, symbol: point[5] < 0 ? lem.SHAPES[place % 8] : "emptyDiamond", symbolSize: point[5] < 0 ? 9 : 12 })) },
      lem.whiskers(row.history[key].filter((point) => point[2] !== null).map((point) => [point[0], at(point[1]), at(point[2]), at(point[3])]), "y", lem.line(place)),
    ]);
    const told = (point) => `${point[4] ? "~" : ""}${lem.number(at(point[1]), 4)} ${scale.unit}`;
    return {
      words: `${key} over ${runs.length} runs, the oldest left, of ${drawn.length} of ${rows.length} configurations`
        + `${rows.length > MOST ? " (filter the summary for others; the table has all)" : ""}. Hollow diamonds cannot be compared with the newest run: something else differs.`,
      height: 380 + 22 * drawn.length,
      click: ({ data }) => data && data.row && lem.detail(lem.run.rows.indexOf(data.row)),
      option: {
        legend: { ...lem.base().legend, type: "plain", orient: "vertical", left: 8, data: drawn.map((row) => row.name), formatter: (each) => lem.brief(each, 44) },
        grid: { left: 36, right: 16, top: 24 + 22 * drawn.length, bottom: 36 },
        tooltip: { ...lem.base().tooltip, formatter: ({ data: { row, point } }) =>
          `${row.name}\n${lem.run.runs[point[0]].id}\n${told(point)}${point[5] < 0 ? "" : `\n${lem.text(point[5]).replace(/; /g, "\n")}`}` },
        xAxis: lem.axis({ type: "category", data: runs, name: "run", nameGap: 26 }),
        yAxis: lem.axis({ type: lem.axisType(drawn.flatMap((row) => row.history[key].map((point) => point[1]))), scale: true, name: `${key} (${scale.unit})`, nameGap: 48 }),
        series,
      },
      table: () => ({ heads: ["run", "configuration", `${key} (${scale.unit})`, "interval", "differs from the newest"],
        rows: rows.flatMap((row) => row.history[key].map((point) => [lem.run.runs[point[0]].id, row.name, told(point),
          point[2] === null ? null : `${lem.number(at(point[2]), 4)}..${lem.number(at(point[3]), 4)}`, lem.text(point[5])])) }),
    };
  }

  lem.history = () => {
    const keys = new Set(lem.run.rows.flatMap((row) => Object.keys(row.history || {})));
    const known = Object.keys(lem.run.metrics).filter((key) => keys.has(key));
    const pairs = known.map((key) => [key, key]);
    lem.select("history-metric", pairs, known.includes("joules_per_token") ? "joules_per_token" : known[0], () => lem.draw("history"));
    lem.chart("history", history);
  };
})();
