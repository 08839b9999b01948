// One batch: files that were dropped together, on their way to the server and through its queue.

import { csrfToken } from "../shell/requests.js";
import { fill, wordsOf } from "../shell/words.js";
import { ask, follow } from "./following.js";
import { Panel, countsOf, mayRetry, wordsFor } from "./panel.js";
import { send, sha256 } from "./sending.js";

/** @typedef {import("./panel.js").Entry} Entry */

const AT_ONCE = 2; // files on their way, of one page
const TRIES = 6;
const LATER = new Set([0, 429, 502, 503, 504]);
const words = wordsOf("drop-words");
const places = wordsOf("drop-places");
let sending = 0;
/** @type {(() => void)[]} */
const queue = [];

/** Wait for a place among the files on their way. */
async function place() {
  if (sending >= AT_ONCE) {
    await new Promise((go) => queue.push(go));
  } else {
    sending += 1;
  }
}

/** Give a place to the next one. */
function leave() {
  const next = queue.shift();
  if (next) {
    next();
  } else {
    sending -= 1;
  }
}

/**
 * A request with a JSON body.
 *
 * @param {string} address
 * @param {object} message
 * @returns {Promise<any>} the answer's JSON, null where it has none
 */
export async function tell(address, message = {}) {
  const answer = await fetch(address, {
    method: "POST",
    body: JSON.stringify(message),
    credentials: "same-origin",
    headers: { "Content-Type": "application/json", Accept: "application/json", "X-CSRFToken": csrfToken() },
  });
  const told = answer.status === 204 ? null : await answer.json().catch(() => null);
  if (!answer.ok) {
    throw new Error(answer.status === 401 ? words.session : (words.codes[told?.code] ?? words.other));
  }
  return told;
}

export class Batch {
  /**
   * @param {HTMLElement} parent
   * @param {string} id
   * @param {Entry[]} entries
   * @param {number | null} ahead
   */
  constructor(parent, id, entries, ahead = null) {
    this.id = id;
    this.address = places.batch.replace("BATCH", id);
    /** @type {Map<string, Entry>} */
    this.entries = new Map(entries.map((entry) => [entry.id, entry]));
    /** @type {Map<string, File>} */
    this.files = new Map();
    /** @type {Map<string, AbortController>} */
    this.stops = new Map();
    this.ahead = ahead;
    this.following = false;
    this.parent = parent;
    this.panel = new Panel(parent, (what, file) => this.#command(what, file));
    this.panel.box.open = entries.length <= 8 || entries.some((entry) => ["refused", "failed"].includes(entry.state));
    this.#show();
  }

  /** Files that were announced and never came, by name. */
  missing() {
    return [...this.entries.values()].filter((entry) => entry.state === "expected" && !entry.here);
  }

  /** Whether files are on their way. */
  sending() {
    return [...this.entries.values()].some((entry) => entry.here && entry.here !== "stopped");
  }

  /** Whether something goes on: files on their way, or in the server's queue. */
  busy() {
    return this.sending() || [...this.entries.values()].some((entry) => ["queued", "running"].includes(entry.state));
  }

  /** Whether all is answered and nothing is left to say. */
  clean() {
    return [...this.entries.values()].every((entry) => entry.state === "answered");
  }

  /**
   * Take files in and send them, those that are here already left out.
   *
   * @param {Map<string, File>} files by their identifiers
   */
  async send(files) {
    for (const [id, file] of files) {
      this.files.set(id, file);
      this.#set(id, { here: "waiting", share: 0, message: undefined });
    }
    this.#show();
    this.follow();
    await Promise.all([...files.keys()].map((id) => this.#one(id)));
  }

  /** Follow the server's account of this batch, if nobody does. */
  async follow() {
    if (this.following) {
      return;
    }
    this.following = true;
    await follow(this.address, (state) => this.#told(state), () => this.busy());
    this.following = false;
    const last = await ask(this.address);
    if (last) {
      this.#told(last);
    }
    document.getElementById("drop-said").textContent = fill(words.done, { words: wordsFor([...this.entries.values()]) });
  }

  /** @param {string} id */
  async #one(id) {
    const stop = new AbortController();
    this.stops.set(id, stop);
    await place();
    try {
      if (!stop.signal.aborted && !(await this.#known(id))) {
        await this.#sent(id, stop.signal);
      }
    } catch (error) {
      if (error instanceof DOMException && error.name === "AbortError") {
        this.#set(id, { here: undefined });
      } else {
        // A TypeError is what `fetch` throws where nobody answers.
        this.#stopped(id, error instanceof TypeError ? words.unreachable : error.message);
      }
    } finally {
      this.stops.delete(id);
      leave();
      this.#show();
    }
  }

  /**
   * Whether the server has this file already.
   *
   * @param {string} id
   */
  async #known(id) {
    this.#set(id, { here: "checking" });
    const hash = await sha256(this.files.get(id));
    if (!hash) {
      return false;
    }
    const told = await tell(`${this.address}/known`, { hashes: { [id]: hash } });
    if (!told.known.includes(id)) {
      return false;
    }
    this.#arrived(id, { state: "queued", duplicate: true });
    return true;
  }

  /**
   * Send a file; again, after a while, where the server is busy or out of reach.
   *
   * @param {string} id
   * @param {AbortSignal} signal
   */
  async #sent(id, signal) {
    for (let turn = 1; ; turn += 1) {
      const progress = (/** @type {number} */ share) => {
        this.#set(id, { here: share < 1 ? "sending" : "unpacking", share });
      };
      progress(0);
      const answer = await send(places.file.replace("FILE", id), this.files.get(id), progress, signal);
      const { told } = answer;
      if (told.outcome === "received" || told.outcome === "refused") {
        this.#outcome(id, told);
        return;
      }
      const code = told.code ?? "";
      if (!LATER.has(answer.status) || turn === TRIES) {
        const gone = answer.status === 401 ? words.session : answer.status ? words.other : words.unreachable;
        this.#stopped(id, words.codes[code] ?? gone);
        return;
      }
      this.#set(id, { here: "again" });
      const wait = Math.max(answer.wait, 2 ** turn) * (0.5 + Math.random());
      await pause(wait * 1000, signal);
    }
  }

  /**
   * @param {string} id
   * @param {Record<string, any>} told of the file itself, or of the last one of a ZIP
   */
  #outcome(id, told) {
    if (told.file !== id) {
      // A ZIP: its files have rows of their own, which the server tells of.
      this.entries.delete(id);
      this.files.delete(id);
      document.dispatchEvent(new CustomEvent("mammolens:uploaded"));
    } else if (told.outcome === "refused") {
      this.#arrived(id, { state: "refused", code: told.code, message: told.message });
    } else {
      this.#arrived(id, { state: told.state, duplicate: told.duplicate, case: told.case, number: told.number });
    }
    this.follow();
  }

  /**
   * @param {string} id
   * @param {Partial<Entry>} found
   */
  #arrived(id, found) {
    this.files.delete(id);
    this.#set(id, { ...found, here: undefined, share: 1 });
    document.dispatchEvent(new CustomEvent("mammolens:uploaded"));
  }

  /**
   * @param {string} id
   * @param {string} message
   */
  #stopped(id, message) {
    this.#set(id, { here: "stopped", message });
    this.panel.box.open = true;
  }

  /** @param {{files: Entry[], ahead: number | null}} state */
  #told(state) {
    const before = countsOf([...this.entries.values()]);
    const fresh = new Map();
    for (const entry of state.files) {
      const known = this.entries.get(entry.id);
      // What this page knows better: the file is on its way, and the server has not heard of it yet.
      fresh.set(entry.id, known?.here && entry.state === "expected" ? known : entry);
    }
    this.entries = fresh;
    this.ahead = state.ahead;
    this.#show();
    const after = countsOf([...fresh.values()]);
    if (after.refused + after.failed > before.refused + before.failed) {
      this.panel.box.open = true;
    }
    if (JSON.stringify(before) !== JSON.stringify(after)) {
      document.dispatchEvent(new CustomEvent("mammolens:uploaded"));
    }
  }

  /**
   * @param {string} what
   * @param {string | null} id
   */
  async #command(what, id) {
    try {
      if (what === "close") {
        await this.close();
      } else if (what === "cancel") {
        await this.#cancel(id);
      } else if (what === "retry") {
        const ids = id ? [id] : [...this.entries.values()].filter(mayRetry).map((entry) => entry.id);
        await this.#retry(ids);
      }
    } catch (error) {
      const { toast } = await import("../shell/toasts.js");
      toast(error instanceof Error ? error.message : words.other, "error");
    }
    const state = what === "close" ? null : await ask(this.address);
    if (state) {
      this.#told(state);
      this.follow();
    }
  }

  /** Put this batch away. */
  async close() {
    await tell(`${this.address}/close`);
    this.panel.box.remove();
    this.entries.clear();
    this.parent.dispatchEvent(new CustomEvent("batch-closed", { detail: this.id }));
  }

  /** @param {string | null} id */
  async #cancel(id) {
    for (const [file, stop] of this.stops) {
      if (!id || file === id) {
        stop.abort();
      }
    }
    await tell(id ? `${places.file.replace("FILE", id)}/cancel` : `${this.address}/cancel`);
  }

  /** @param {string[]} ids */
  async #retry(ids) {
    const again = new Map();
    for (const id of ids) {
      const file = this.files.get(id);
      if (file) {
        again.set(id, file);
      } else {
        await tell(`${places.file.replace("FILE", id)}/retry`);
      }
    }
    if (again.size) {
      this.send(again);
    }
  }

  /**
   * @param {string} id
   * @param {Partial<Entry>} found
   */
  #set(id, found) {
    const entry = this.entries.get(id);
    if (entry) {
      Object.assign(entry, found);
      this.#show();
    }
  }

  #show() {
    this.panel.show([...this.entries.values()], this.ahead);
  }
}

/**
 * @param {number} milliseconds
 * @param {AbortSignal} signal
 */
function pause(milliseconds, signal) {
  return new Promise((wake, fail) => {
    const timer = setTimeout(wake, milliseconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      fail(new DOMException("cancelled", "AbortError"));
    });
  });
}
