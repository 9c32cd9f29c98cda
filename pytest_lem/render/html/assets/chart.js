// One chart: its picture, its words for those who cannot see it, its numbers as a table, and what stands where it fails.
"use strict";
(() => {
  const charts = new Map();

  lem.element = (name, properties = {}, ...children) => {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  };

  lem.table = ({ caption, heads, rows }) => {
    const text = (each) => typeof each === "string" && !/^[~–\d−-]/.test(each);
    const words = heads.map((_, place) => rows.some((row) => text(row[place])) || !rows.some((row) => row[place]));
    const cell = (each, place) => {
      const made = lem.element(place ? "td" : "th", { textContent: each === null ? "–" : String(each) });
      if (!place) made.scope = "row";
      else if (words[place]) made.className = String(each).length > 40 ? "long" : "word";
      return made;
    };
    const column = (each, place) => lem.element("th", { scope: "col", textContent: each, className: words[place] ? "word" : "" });
    const head = lem.element("tr", {}, ...heads.map(column));
    const body = rows.map((row) => lem.element("tr", {}, ...row.map(cell)));
    const table = lem.element("table", {}, lem.element("caption", { textContent: caption }),
      lem.element("thead", {}, head), lem.element("tbody", {}, ...body));
    const scroll = lem.element("div", { className: "scroll tall", tabIndex: 0 }, table);
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", caption);
    return scroll;
  };

  lem.colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  lem.line = (place) => lem.colour(`c${place % 8}`);
  lem.SHAPES = ["circle", "rect", "triangle", "diamond", "path://M0,0L10,0L5,10Z", "path://M3,0H7V3H10V7H7V10H3V7H0V3H3Z", "roundRect",
    "path://M5,0L10,4L8,10H2L0,4Z"];

  // What all charts share. Words are drawn on the canvas, so nothing in them is ever HTML.
  lem.axis = ({ label = {}, ...more }) => ({
    axisLine: { lineStyle: { color: lem.colour("soft") } },
    axisLabel: { color: lem.colour("soft"), hideOverlap: true, ...label },
    splitLine: { lineStyle: { color: lem.colour("line") } },
    nameTextStyle: { color: lem.colour("soft") },
    nameLocation: "middle",
    ...more,
  });

  lem.base = () => ({
    animation: false,
    backgroundColor: "transparent",
    textStyle: { color: lem.colour("ink"), fontFamily: "system-ui, sans-serif" },
    grid: { left: 16, right: 24, top: 48, bottom: 40, containLabel: true },
    legend: {
      type: "scroll", top: 0, left: 0, right: 0, textStyle: { color: lem.colour("ink") },
      inactiveColor: lem.colour("soft"), pageIconColor: lem.colour("ink"), pageIconInactiveColor: lem.colour("line"),
      pageTextStyle: { color: lem.colour("ink") },
    },
    tooltip: {
      renderMode: "richText", confine: true, backgroundColor: lem.colour("raised"), borderColor: lem.colour("soft"),
      textStyle: { color: lem.colour("ink"), fontSize: 13 },
    },
  });

  // Values with their intervals as whiskers: `[x, y, low, high]`, along x or y.
  lem.whiskers = (points, along, colour) => ({
    type: "custom", silent: true, z: 1, data: points, encode: along === "x" ? { x: [0, 2, 3], y: 1 } : { x: 0, y: [1, 2, 3] },
    tooltip: { show: false },
    renderItem: (_, api) => {
      const ends = [2, 3].map((end) => (along === "x" ? api.coord([api.value(end), api.value(1)])
        : api.coord([api.value(0), api.value(end)])));
      const [[x1, y1], [x2, y2]] = ends;
      if (![x1, y1, x2, y2].every(Number.isFinite)) return null;
      const [dx, dy] = along === "x" ? [0, 4] : [4, 0];
      const line = (a, b, c, d) => ({ type: "line", shape: { x1: a, y1: b, x2: c, y2: d }, style: { stroke: colour, lineWidth: 1.5 } });
      return { type: "group", children: [line(x1, y1, x2, y2), line(x1 - dx, y1 - dy, x1 + dx, y1 + dy),
        line(x2 - dx, y2 - dy, x2 + dx, y2 + dy)] };
    },
  });

  class Chart {
    constructor(figure, build) {
      this.build = build;
      this.plot = lem.element("div", { className: "plot" });
      this.words = lem.element("figcaption", { className: "legend" });
      this.details = lem.element("details", {}, lem.element("summary", { textContent: "these numbers as a table" }));
      this.details.addEventListener("toggle", () => this.fill());
      this.near = false;
      figure.append(this.words, this.plot, this.details);
      new IntersectionObserver((seen) => { this.near = seen.some((each) => each.isIntersecting); this.draw(); },
        { rootMargin: "300px" }).observe(figure);
      new ResizeObserver(() => this.instance && this.instance.resize()).observe(this.plot);
    }

    // Words and numbers at once, the picture when it is nearly in sight.
    update() {
      try {
        this.told = this.build(this.plot.clientWidth || this.plot.parentElement.clientWidth);
        this.words.textContent = this.told.words;
        this.plot.hidden = this.details.hidden = Boolean(this.told.empty);
        this.stale = !this.told.empty;
      } catch (fault) {
        this.told = undefined;
        this.fail(fault);
      }
      this.draw();
      this.fill();
    }

    draw() {
      if (!this.stale || !this.near) return;
      this.stale = false;
      try {
        this.paint();
      } catch (fault) {
        this.fail(fault);
      }
    }

    paint() {
      this.plot.style.height = `${this.told.height || 352}px`;
      this.plot.setAttribute("role", "img");
      this.plot.setAttribute("aria-label", this.told.words);
      if (!this.instance) {
        this.instance = echarts.init(this.plot, null, { renderer: "canvas" });
        this.instance.on("click", (event) => this.told.click && this.told.click(event));
      }
      this.instance.resize();
      this.instance.setOption({ ...lem.base(), ...this.told.option }, true);
      performance.mark("lem-drawn");
    }

    fail(fault) {
      this.plot.hidden = true;
      this.details.hidden = !this.told;
      this.details.open = true;
      const rest = this.told ? `its numbers stand in the table. ${this.told.words}` : "there are no numbers of it.";
      this.words.textContent = `This chart could not be drawn (${fault.message}); ${rest}`;
      this.fill();
    }

    fill() {
      if (!this.details.open || !this.told || this.told.empty) return;
      const table = lem.table({ caption: this.told.words, ...this.told.table() });
      this.details.replaceChildren(this.details.firstElementChild, table);
    }
  }

  lem.chart = (name, build) => {
    const figure = document.querySelector(`figure[data-chart="${name}"]`);
    charts.set(name, new Chart(figure, build));
  };
  lem.draw = (...names) => { for (const name of names.length ? names : charts.keys()) charts.get(name).update(); };

  // A `select` with these choices; says when another is made.
  lem.select = (id, choices, chosen, changed) => {
    const select = document.getElementById(id);
    const options = choices.map(([value, label]) => lem.element("option", { value, textContent: label }));
    select.replaceChildren(...options);
    if (chosen !== undefined) select.value = chosen;
    select.closest("label").hidden = choices.length < 2;
    select.onchange = changed;
    return select;
  };
})();
