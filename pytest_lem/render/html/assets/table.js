// Sorting and filtering the summary: it needs neither the data nor the charts.
"use strict";
(() => {
  const tables = [...document.querySelectorAll("table.sortable")];
  const rows = tables.flatMap((table) => [...table.tBodies[0].rows]);
  const words = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));

  function key(row, column) {
    const told = row.cells[column].dataset.v;
    const text = told === undefined ? row.cells[column].textContent.trim() : told;
    const absent = row.cells[column].classList.contains("absent") || text === "" || text === "–";
    const number = Number(text);
    return { absent, number, text };
  }

  function compared(a, b) {
    if (Number.isNaN(a.number) || Number.isNaN(b.number)) return a.text.localeCompare(b.text, "en", { numeric: true });
    return a.number - b.number;
  }

  function sort(table, head) {
    const order = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
    for (const each of table.tHead.rows[0].cells) each.setAttribute("aria-sort", each === head ? order : "none");
    const keyed = [...table.tBodies[0].rows].map((row) => [key(row, head.cellIndex), row]);
    const sign = order === "ascending" ? 1 : -1;
    // What is absent is last either way: it is neither little nor much.
    keyed.sort(([a], [b]) => a.absent - b.absent || (a.absent ? 0 : sign * compared(a, b)));
    table.tBodies[0].append(...keyed.map(([, row]) => row));
  }

  const form = document.getElementById("filter");
  const typed = document.getElementById("filter-words");
  const verdict = document.getElementById("filter-verdict");
  const count = document.getElementById("filter-count");

  function filter() {
    const asked = typed.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const judged = row.lastElementChild.textContent.trim();
      const fits = asked.every((word) => words.get(row).includes(word)) && judged.endsWith(verdict.value);
      row.hidden = !fits;
      shown += fits;
    }
    count.textContent = shown === rows.length ? `${rows.length} shown` : `${shown} of ${rows.length} shown`;
    document.dispatchEvent(new Event("lem-filter"));
  }

  lem.shown = () => new Set(rows.filter((row) => !row.hidden).map((row) => Number(row.dataset.row)));
  for (const table of tables) {
    for (const head of table.tHead.rows[0].cells) {
      head.querySelector("button").addEventListener("click", () => sort(table, head));
    }
  }
  for (const each of document.querySelectorAll(".js")) each.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  typed.addEventListener("input", filter);
  verdict.addEventListener("change", filter);
  filter();
})();
