// Unpacks the run and draws it. The summary and the text of the page need none of this.
"use strict";
(async () => {
  try {
    await lem.load();
    if (lem.run.rows.length) {
      lem.costs();
      lem.details();
      lem.history();
      lem.draw();
      document.addEventListener("lem-theme", () => lem.draw());
    }
  } catch (fault) {
    const trouble = document.getElementById("trouble");
    trouble.hidden = false;
    trouble.textContent = `Charts could not be made (${fault.message}); tables and text stand without them.`;
  }
  performance.mark("lem-ready");
  document.documentElement.dataset.ready = "yes";
})();
