// Light or dark as chosen, before anything is painted: a classic script, since modules run later.
(() => {
  const STORE = "pellucid-theme";
  const root = document.documentElement;
  root.dataset.theme = localStorage.getItem(STORE) ?? "";
  addEventListener("DOMContentLoaded", () => {
    const select = document.getElementById("theme");
    select.value = root.dataset.theme;
    select.addEventListener("change", () => {
      root.dataset.theme = select.value;
      localStorage.setItem(STORE, select.value);
    });
  });
})();
