// Light or dark: the system's, until the reader says otherwise; what was said is remembered where that is allowed.
"use strict";
window.lem = {};
(() => {
  const KEY = "lem-theme";
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const remembered = () => { try { return localStorage.getItem(KEY); } catch { return null; } };
  const remember = (theme) => { try { localStorage.setItem(KEY, theme); } catch { /* a file may have no storage */ } };
  let chosen = remembered();
  const theme = () => chosen || (dark.matches ? "dark" : "light");
  const other = () => (theme() === "dark" ? "light" : "dark");

  function apply() {
    document.documentElement.dataset.theme = theme();
    const button = document.getElementById("theme");
    if (button) { button.textContent = `${other()} theme`; button.hidden = false; }
    document.dispatchEvent(new Event("lem-theme"));
  }

  dark.addEventListener("change", apply);
  document.addEventListener("DOMContentLoaded", () => {
    document.getElementById("theme").addEventListener("click", () => { chosen = other(); remember(chosen); apply(); });
    apply();
  });
  apply();
})();
