// Keeps the worklist up to date without a jump: rows change in their place, new cases wait behind a button, unless the
// reader has just uploaded them here or the list is empty.

import { onKey } from "../shell/keys.js";
import { fill, wordsOf } from "../shell/words.js";

const BUSY = 1500; // ms between questions while a case of the page is in work
const CALM = 10000; // and while none is
const words = wordsOf("worklist-words");
const newer = document.getElementById("worklist-new");
let list = document.getElementById("worklist");
let own = false; // whether files of this page have arrived since it was made

/** @returns {HTMLTableRowElement[]} */
function rows() {
  return [...list.querySelectorAll("tr[data-case]")];
}

/**
 * Put a row's new state in its place, the focus staying where it was.
 *
 * @param {HTMLTableRowElement} row
 * @param {string} html
 */
function replace(row, html) {
  const template = document.createElement("template");
  template.innerHTML = html.trim();
  const fresh = template.content.firstElementChild;
  const focused = row.contains(document.activeElement);
  row.replaceWith(fresh);
  if (focused) {
    fresh.querySelector("th a")?.focus({ preventScroll: true });
  }
}

/** @param {{rows: Record<string, string>, gone: string[], times: Record<string, string>, newer: number}} told */
function apply(told) {
  for (const row of rows()) {
    const id = row.dataset.case;
    if (id in told.rows) {
      replace(row, told.rows[id]);
    } else if (told.gone.includes(id)) {
      row.classList.add("row-gone");
      row.title = words.gone;
      row.querySelector("th a")?.removeAttribute("href");
    } else {
      const time = row.querySelector("time");
      if (time && time.textContent !== told.times[id]) {
        time.textContent = told.times[id];
      }
    }
  }
  if (told.newer && newer.dataset.here === "yes" && (own || !rows().length)) {
    own = false;
    return again();
  }
  if (told.newer) {
    newer.textContent = told.newer === 1 ? words.one : fill(words.many, { count: told.newer });
    newer.hidden = false;
  }
  return undefined;
}

/** Put the list as it is now in the place of this one; the rest of the page, uploads among it, goes on. */
async function again() {
  const answer = await fetch(location.href, { credentials: "same-origin" });
  if (!answer.ok) {
    return;
  }
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const focused = document.activeElement?.closest("tr[data-case]")?.dataset.case;
  for (const id of ["worklist", "worklist-count"]) {
    document.getElementById(id).replaceWith(document.adoptNode(page.getElementById(id)));
  }
  list = document.getElementById("worklist");
  newer.hidden = true;
  if (focused) {
    list.querySelector(`tr[data-case="${focused}"] th a`)?.focus({ preventScroll: true });
  }
}

async function ask() {
  const address = new URL(list.dataset.changes, location.href);
  address.searchParams.set("since", list.dataset.since);
  address.searchParams.set("seen", rows().map((row) => `${row.dataset.case}.${row.dataset.version}`).join(","));
  const answer = await fetch(address, { headers: { Accept: "application/json" }, credentials: "same-origin" });
  if (answer.status === 401) {
    location.reload();
    return;
  }
  if (answer.ok) {
    await apply(await answer.json());
  }
}

let timer = 0;

function next() {
  clearTimeout(timer);
  const busy = !rows().length || rows().some((row) => row.dataset.state === "waiting");
  timer = setTimeout(turn, busy ? BUSY : CALM);
}

async function turn() {
  if (!document.hidden) {
    // A server that can't be reached for a while is asked again at the next turn.
    await ask().catch(() => {});
  }
  next();
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) {
    clearTimeout(timer);
    turn();
  }
});
document.addEventListener("mammolens:uploaded", () => {
  own = true;
  turn();
});
newer.addEventListener("click", (event) => {
  if (newer.dataset.here === "yes") {
    event.preventDefault();
    again();
  }
});
next();

/** @param {number} step */
function move(step) {
  const links = rows().map((row) => row.querySelector("th a"));
  const here = links.indexOf(document.activeElement);
  const there = here < 0 ? (step > 0 ? 0 : links.length - 1) : Math.min(Math.max(here + step, 0), links.length - 1);
  links[there]?.focus();
}

onKey("j", () => move(1));
onKey("k", () => move(-1));
onKey("/", () => document.getElementById("search").focus());
onKey("s", () => {
  const bySuspicion = document.querySelector('th[aria-sort] a[href*="order=suspicion"][aria-current]');
  location.href = bySuspicion ? words.arrival : words.suspicion;
});
