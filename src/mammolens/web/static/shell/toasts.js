// Short messages in the corner. They are read out, stay until put away when they tell of an error, and else 6 s.

import { word } from "./words.js";

/**
 * Show a message.
 *
 * @param {string} words
 * @param {"info" | "error"} [kind]
 * @returns {() => void} puts it away
 */
export function toast(words, kind = "info") {
  const box = document.createElement("div");
  box.className = `toast toast-${kind}`;
  const text = document.createElement("p");
  text.textContent = words;
  const close = document.createElement("button");
  close.type = "button";
  close.className = "button button-plain button-small";
  close.textContent = word("close");
  const away = () => box.remove();
  close.addEventListener("click", away);
  box.append(text, close);
  document.getElementById("toasts").append(box);
  if (kind !== "error") {
    setTimeout(away, 6000);
  }
  return away;
}
