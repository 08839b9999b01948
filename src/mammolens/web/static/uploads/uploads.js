// Uploading: drop files anywhere on the page, or choose them; go on with what was begun before the page was closed.

import { toast } from "../shell/toasts.js";
import { fill, wordsOf } from "../shell/words.js";
import { Batch, tell } from "./batch.js";
import { chosenIn, droppedIn, isLitter } from "./choosing.js";
import { ask } from "./following.js";

/** @typedef {import("./choosing.js").Chosen} Chosen */

const words = wordsOf("drop-words");
const places = wordsOf("drop-places");
const shelf = document.getElementById("drop-batches");
const section = document.getElementById("drop");
/** @type {Map<string, Batch>} */
const batches = new Map();

/** Name of a file as the server keeps it, for finding it again. */
function nameOf(/** @type {string} */ path) {
  return path.normalize("NFC").split("/").filter((part) => part && part !== "." && part !== "..").join("/").slice(-255);
}

/**
 * Leave out what is not worth sending, and say so.
 *
 * @param {Chosen[]} chosen
 * @returns {Chosen[]}
 */
function sorted(chosen) {
  const { limits } = places;
  const most = (/** @type {Chosen} */ one) => (one.path.toLowerCase().endsWith(".zip") ? limits.zip : limits.file);
  const wanted = chosen.filter((one) => !isLitter(one.path));
  const large = wanted.filter((one) => one.file.size > most(one));
  if (large.length) {
    const names = large.slice(0, 5).map((one) => one.file.name).join(", ") + (large.length > 5 ? ", …" : "");
    toast(fill(words.too_large, { size: Math.floor(most(large[0]) / 1048576), names }), "error");
  }
  const kept = wanted.filter((one) => one.file.size <= most(one));
  kept.sort((one, other) => one.path.localeCompare(other.path, undefined, { numeric: true }));
  if (kept.length > limits.batch) {
    toast(fill(words.too_many, { count: limits.batch }), "error");
  }
  if (!kept.length && !large.length) {
    toast(words.nothing);
  }
  return kept.slice(0, limits.batch);
}

/**
 * Go on with batches that miss these very files; give what no batch waits for.
 *
 * @param {Chosen[]} chosen
 * @returns {Chosen[]}
 */
function continued(chosen) {
  let rest = chosen;
  for (const batch of batches.values()) {
    const missing = new Map(batch.missing().map((entry) => [entry.name, entry.id]));
    const found = new Map();
    rest = rest.filter((one) => {
      const id = missing.get(nameOf(one.path));
      if (!id || found.has(id)) {
        return true;
      }
      found.set(id, one.file);
      return false;
    });
    if (found.size) {
      batch.send(found);
    }
  }
  return rest;
}

/** @param {Chosen[]} chosen */
async function start(chosen) {
  const rest = continued(sorted(chosen));
  if (!rest.length) {
    return;
  }
  try {
    const told = await tell(places.batches, { names: rest.map((one) => one.path) });
    const entries = rest.map((one, place) => ({ id: told.files[place], name: one.path, state: "expected", here: "waiting" }));
    const batch = new Batch(shelf, told.id, entries);
    batches.set(told.id, batch);
    document.getElementById("drop-said").textContent = fill(words.started, { count: rest.length });
    batch.send(new Map(rest.map((one, place) => [told.files[place], one.file])));
  } catch (error) {
    toast(error instanceof Error && error.name !== "TypeError" ? error.message : words.unreachable, "error");
  }
}

/** Show what was begun before, and put away what is over and well. */
async function restore() {
  const found = await ask(places.batches);
  for (const state of (found?.batches ?? []).reverse()) {
    const batch = new Batch(shelf, state.id, state.files, state.ahead);
    if (batch.clean()) {
      batch.close().catch(() => {});
    } else {
      batches.set(state.id, batch);
      batch.panel.box.open = batch.busy() || batch.missing().length > 0;
      if (batch.busy()) {
        batch.follow();
      }
    }
  }
}

function wireChoice(/** @type {string} */ button, /** @type {string} */ field) {
  const input = document.getElementById(field);
  document.getElementById(button).addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    const chosen = chosenIn(input);
    input.value = "";
    start(chosen);
  });
}

function wireDrop() {
  let inside = 0;
  const carries = (/** @type {DragEvent} */ event) => event.dataTransfer?.types.includes("Files") ?? false;
  const over = (/** @type {boolean} */ shown) => section.classList.toggle("drop-over", shown);
  document.addEventListener("dragenter", (event) => {
    inside += carries(event) ? 1 : 0;
    over(inside > 0);
  });
  document.addEventListener("dragleave", (event) => {
    inside = Math.max(0, inside - (carries(event) ? 1 : 0));
    over(inside > 0);
  });
  document.addEventListener("dragover", (event) => {
    if (carries(event)) {
      event.preventDefault();
      event.dataTransfer.dropEffect = "copy";
    }
  });
  document.addEventListener("drop", async (event) => {
    inside = 0;
    over(false);
    if (carries(event)) {
      event.preventDefault();
      start(await droppedIn(event.dataTransfer));
    }
  });
}

wireChoice("drop-choose-files", "drop-files");
wireChoice("drop-choose-folder", "drop-folder");
wireDrop();
shelf.addEventListener("batch-closed", (event) => batches.delete(event.detail));
window.addEventListener("beforeunload", (event) => {
  if ([...batches.values()].some((batch) => batch.sending())) {
    event.preventDefault();
  }
});
restore();
