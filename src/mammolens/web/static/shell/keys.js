// Single keys as commands. They rest while somebody writes, chooses, or a dialog is open.

/** @type {Map<string, (event: KeyboardEvent) => void>} */
const commands = new Map();
const SWITCH = "mammolens-single-keys";
let first = "";
let since = 0;

/**
 * Bind a key, or two in a row: onKey("i", invert), onKey("g w", toWorklist).
 *
 * @param {string} keys as KeyboardEvent.key names them
 * @param {(event: KeyboardEvent) => void} command
 */
export function onKey(keys, command) {
  commands.set(keys, command);
}

/** Whether single keys act in this browser: who dictates, or hits keys by chance, turns them off (WCAG 2.2, 2.1.4). */
function act() {
  return localStorage.getItem(SWITCH) !== "off";
}

/** Wire the switch in the keyboard help. */
function wireSwitch() {
  const choice = document.getElementById("single-keys");
  if (choice instanceof HTMLInputElement) {
    choice.checked = act();
    choice.addEventListener("change", () => localStorage.setItem(SWITCH, choice.checked ? "on" : "off"));
  }
}

/** @param {EventTarget | null} target */
function writes(target) {
  return target instanceof Element && target.closest("input:not([type=checkbox], [type=radio]), select, textarea, [contenteditable]");
}

/** Listen to the page's keys. */
export function wireKeys() {
  wireSwitch();
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) {
      return;
    }
    if ((event.key.length === 1 && !act()) || writes(event.target) || document.querySelector("dialog[open]")) {
      return;
    }
    const pair = event.timeStamp - since < 1000 ? `${first} ${event.key}` : "";
    const command = commands.get(pair) ?? commands.get(event.key);
    first = event.key;
    since = event.timeStamp;
    if (command) {
      event.preventDefault();
      first = "";
      command(event);
    }
  });
}
