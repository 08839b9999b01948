// One batch on the page: a line with a number, and its files. Rows change in their place; nothing jumps.

import { fill, wordsOf } from "../shell/words.js";

const words = wordsOf("drop-words");
const places = wordsOf("drop-places");

/**
 * @typedef {object} Entry
 * @property {string} id
 * @property {string} name
 * @property {string} state of the server: expected, queued, running, answered, refused, failed, cancelled
 * @property {string} [here] of this page, before the server has the file: waiting, checking, sending, unpacking, again, stopped
 * @property {number} [share] of the file that is sent, 0 to 1
 * @property {boolean} [duplicate]
 * @property {string} [code]
 * @property {string} [message]
 * @property {string} [case]
 * @property {string} [number]
 */

const ENDED = new Set(["answered", "refused", "failed", "cancelled"]);
const LOOK = {
  expected: ["clock", ""],
  queued: ["clock", ""],
  running: ["clock", ""],
  answered: ["check", "file-good"],
  refused: ["refused", "file-refused"],
  failed: ["warning", "file-bad"],
  cancelled: ["cross", ""],
  stopped: ["warning", "file-bad"],
};

/** Counts of a batch's files by what becomes of them. */
export function countsOf(/** @type {Entry[]} */ entries) {
  const counts = { sending: 0, open: 0, answered: 0, refused: 0, failed: 0, cancelled: 0, missing: 0 };
  for (const entry of entries) {
    if (entry.here === "stopped") {
      counts.failed += 1;
    } else if (entry.here) {
      counts.sending += 1;
    } else if (entry.state === "expected") {
      counts.missing += 1;
    } else {
      counts[ENDED.has(entry.state) ? entry.state : "open"] += 1;
    }
  }
  return counts;
}

/** How far a batch is, 0 to 1: half for the sending of each file, half for its answer. */
function shareOf(/** @type {Entry[]} */ entries) {
  const done = entries.map((entry) => {
    if (entry.here) {
      return entry.here === "stopped" ? 1 : (entry.share ?? 0) / 2;
    }
    return entry.state === "expected" ? 0 : ENDED.has(entry.state) ? 1 : 0.5;
  });
  return entries.length ? done.reduce((sum, one) => sum + one, 0) / entries.length : 1;
}

/** A batch in words: "4 files · 3 answered · 1 refused". */
export function wordsFor(/** @type {Entry[]} */ entries) {
  const told = Object.entries(countsOf(entries)).filter(([, count]) => count);
  const all = entries.length === 1 ? words.one : fill(words.many, { count: entries.length });
  return [all, ...told.map(([name, count]) => fill(words[`sum_${name}`], { count }))].join(" · ");
}

export class Panel {
  /**
   * @param {HTMLElement} parent
   * @param {(what: string, id: string | null) => void} onCommand cancel, retry or close, of a file or of the batch
   */
  constructor(parent, onCommand) {
    this.box = copyOf("drop-batch");
    this.list = this.box.querySelector(".batch-files");
    /** @type {Map<string, HTMLElement>} */
    this.rows = new Map();
    this.box.addEventListener("click", (event) => {
      const button = event.target instanceof Element ? event.target.closest("button[data-does]") : null;
      if (button instanceof HTMLElement) {
        onCommand(button.dataset.does ?? "", button.closest("li")?.dataset.file ?? null);
      }
    });
    parent.prepend(this.box);
  }

  /**
   * @param {Entry[]} entries
   * @param {number | null} ahead how many answers of others come before
   */
  show(entries, ahead) {
    const counts = countsOf(entries);
    const share = Math.floor(shareOf(entries) * 100);
    const done = !counts.sending && !counts.open;
    const before = ahead ? ` · ${fill(words.ahead, { count: ahead })}` : "";
    put(this.box.querySelector(".batch-words"), wordsFor(entries) + before);
    put(this.box.querySelector(".batch-number"), done ? "" : `${share} %`);
    const bar = this.box.querySelector(".batch-bar");
    bar.value = share;
    bar.setAttribute("aria-label", wordsFor(entries));
    this.box.classList.toggle("batch-done", done);
    this.box.querySelector('.batch-tools [data-does="cancel"]').hidden = done && !counts.missing;
    this.box.querySelector('.batch-tools [data-does="retry"]').hidden = !entries.some(mayRetry);
    this.box.querySelector('.batch-tools [data-does="close"]').hidden = !done;
    const missing = this.box.querySelector(".batch-missing");
    missing.hidden = !counts.missing;
    put(missing.querySelector("span"), words.come_back);
    this.#rows(entries);
  }

  /** @param {Entry[]} entries */
  #rows(entries) {
    const living = new Set(entries.map((entry) => entry.id));
    for (const [id, row] of this.rows) {
      if (!living.has(id)) {
        row.remove();
        this.rows.delete(id);
      }
    }
    for (const entry of entries) {
      let row = this.rows.get(entry.id);
      if (!row) {
        row = copyOf("drop-file");
        row.dataset.file = entry.id;
        this.rows.set(entry.id, row);
        this.list.append(row);
      }
      showFile(row, entry);
    }
  }
}

/** Whether there is something to try again: what failed on the way, or in the queue. */
export function mayRetry(/** @type {Entry} */ entry) {
  return entry.here ? entry.here === "stopped" : entry.state === "failed" || entry.state === "cancelled";
}

/**
 * @param {HTMLElement} row
 * @param {Entry} entry
 */
function showFile(row, entry) {
  const state = entry.here === "stopped" ? "stopped" : entry.here ? "sending" : entry.state;
  const [icon, look] = LOOK[state] ?? ["upload", ""];
  row.className = `batch-file ${look}`;
  row.dataset.state = state;
  for (const shown of row.querySelectorAll("[data-icon]")) {
    shown.hidden = shown.dataset.icon !== icon;
  }
  put(row.querySelector(".file-name"), entry.name);
  put(row.querySelector(".file-state"), stateWords(entry));
  const reason = row.querySelector(".file-reason");
  reason.hidden = !entry.message || !(look === "file-bad" || look === "file-refused");
  put(reason, reason.hidden ? "" : entry.message);
  const link = row.querySelector(".file-case");
  link.hidden = !entry.case;
  if (entry.case) {
    link.href = places.case.replace("CASE", entry.case);
    put(link, entry.number ?? "");
  }
  const open = entry.here ? entry.here !== "stopped" : entry.state === "queued" || entry.state === "running";
  const cancel = row.querySelector('[data-does="cancel"]');
  cancel.hidden = !open;
  cancel.setAttribute("aria-label", `${cancel.textContent}: ${entry.name}`);
  const retry = row.querySelector('[data-does="retry"]');
  retry.hidden = !mayRetry(entry);
  retry.setAttribute("aria-label", `${retry.textContent}: ${entry.name}`);
}

/** @param {Entry} entry */
function stateWords(entry) {
  if (entry.here === "sending") {
    return `${words.sending} ${Math.floor((entry.share ?? 0) * 100)} %`;
  }
  if (entry.here === "stopped") {
    return words.failed;
  }
  const said = entry.here ? words[entry.here] : entry.state === "expected" ? words.missing : words[entry.state];
  return entry.duplicate ? `${said}, ${words.duplicate}` : said;
}

/** Write text only where it differs, so that nothing is read out twice and no selection is lost. */
function put(/** @type {Element} */ element, /** @type {string} */ text) {
  if (element.textContent !== text) {
    element.textContent = text;
  }
}

/**
 * @param {string} id of a template with one element
 * @returns {HTMLElement}
 */
function copyOf(id) {
  const template = document.getElementById(id);
  return template.content.firstElementChild.cloneNode(true);
}
