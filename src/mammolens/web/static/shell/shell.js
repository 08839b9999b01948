// What every page does: dialogs, menus, keyboard help, the theme without a reload.

import { openDialog, wireDialogs } from "./dialogs.js";
import { onKey, wireKeys } from "./keys.js";
import { post } from "./requests.js";
import { toast } from "./toasts.js";
import { word } from "./words.js";

wireDialogs();
wireKeys();
onKey("?", () => openDialog("keys"));
onKey("g w", () => {
  location.href = word("worklist");
});

const form = document.querySelector("form[data-look]");
const choice = form?.querySelector('button[name="theme"]');
choice?.addEventListener("click", async (event) => {
  event.preventDefault();
  const theme = choice.value;
  const kept = post(form.action, { theme });
  for (const element of [document.documentElement, document.body]) {
    element.dataset.theme = theme;
  }
  document.dispatchEvent(new CustomEvent("themechange", { detail: theme }));
  const words = choice.querySelector("[data-words]");
  const other = theme === "dark" ? "light" : "dark";
  words.textContent = word(other);
  choice.value = other;
  for (const icon of choice.querySelectorAll("[data-for]")) {
    icon.toggleAttribute("hidden", icon.dataset.for !== other);
  }
  await kept.catch((error) => toast(error.message, "error"));
});
