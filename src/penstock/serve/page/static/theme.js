// Light or dark: as the device says, until someone says otherwise here.

import { find } from "./dom.js";

const dark = matchMedia("(prefers-color-scheme: dark)");

/** Applies the theme now and whenever it changes; returns what the button does. */
export function startTheme(changed) {
  const apply = () => {
    show(chosen() ?? (dark.matches ? "dark" : "light"));
    changed();
  };
  dark.addEventListener("change", apply);
  apply();
  return () => {
    keep(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
    apply();
  };
}

function show(theme) {
  document.documentElement.dataset.theme = theme;
  const other = theme === "dark" ? "light" : "dark";
  find("theme").setAttribute("aria-label", `${other === "dark" ? "Dark" : "Light"} theme`);
  find("theme")
    .querySelector("use")
    .setAttribute("href", other === "dark" ? "#i-moon" : "#i-sun");
}

function chosen() {
  try {
    return localStorage.getItem("theme");
  } catch {
    return null;
  }
}

function keep(theme) {
  try {
    localStorage.setItem("theme", theme);
  } catch {
    /* a browser that keeps nothing follows the device */
  }
}
