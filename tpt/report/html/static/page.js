// Light and dark, and the start of the trace browser.

function listenToTheme() {
  const button = at("theme");
  const isDark = () => (document.documentElement.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const label = () => {
    button.textContent = isDark() ? "Light" : "Dark";
    button.setAttribute("aria-label", isDark() ? "Use light colours" : "Use dark colours");
  };
  button.addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    label();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", label);
  button.hidden = false;
  label();
}

listenToTheme();
openBrowser().then(
  () => {
    // When the page could be used, in milliseconds after it was opened.
    document.documentElement.dataset.ready = Math.round(performance.now());
  },
  (error) => {
    at("browser").replaceChildren(make("p", null, `The trace browser cannot start: ${error.message}. It needs a browser from 2024 or later.`));
    at("browser").hidden = false;
  },
);
