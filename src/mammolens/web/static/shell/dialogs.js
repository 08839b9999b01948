// Dialogs: <dialog class="dialog" id="x">, opened by [data-opens="x"], closed by [data-closes], Escape or a click outside.

/** @param {string} id */
export function openDialog(id) {
  const dialog = document.getElementById(id);
  if (dialog instanceof HTMLDialogElement && !dialog.open) {
    dialog.showModal();
  }
}

/** Wire the page's dialogs and menus. */
export function wireDialogs() {
  for (const opener of document.querySelectorAll("[data-opens]")) {
    opener.hidden = false;
  }
  document.addEventListener("click", (event) => {
    const target = /** @type {Element} */ (event.target);
    const opener = target.closest("[data-opens]");
    if (opener) {
      openDialog(opener.dataset.opens);
    } else if (target.closest("[data-closes]") || target instanceof HTMLDialogElement) {
      target.closest("dialog")?.close();
    }
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      if (!menu.contains(target)) {
        menu.open = false;
      }
    }
  });
  document.addEventListener("keydown", (event) => {
    const menu = event.key === "Escape" && document.querySelector("details.menu[open]");
    if (menu) {
      menu.open = false;
      menu.querySelector("summary")?.focus();
    }
  });
}
