// How far a batch has come: told by the server as it goes (Server-Sent Events), or asked for where that is not to be had.

const STEP = 1500; // ms between two questions

/**
 * Follow a batch until `goesOn` says that there is nothing more to come.
 *
 * @param {string} address of the batch
 * @param {(state: object) => void} show
 * @param {() => boolean} goesOn
 */
export async function follow(address, show, goesOn) {
  let streams = "EventSource" in globalThis;
  while (goesOn()) {
    if (streams) {
      streams = await stream(`${address}/events`, show, goesOn);
    }
    if (!goesOn()) {
      return;
    }
    await new Promise((wake) => setTimeout(wake, STEP));
    const state = await ask(address);
    if (state) {
      show(state);
    }
  }
}

/**
 * State of a batch now.
 *
 * @param {string} address
 * @returns {Promise<object | null>} null where the server can't be reached just now
 */
export async function ask(address) {
  try {
    const answer = await fetch(address, { headers: { Accept: "application/json" }, credentials: "same-origin" });
    return answer.ok ? await answer.json() : null;
  } catch {
    return null;
  }
}

/**
 * Listen until the server has no more to tell, or nobody wants to know.
 *
 * @param {string} address
 * @param {(state: object) => void} show
 * @param {() => boolean} goesOn
 * @returns {Promise<boolean>} whether another stream is worth a try; not where the server has no place for one
 */
function stream(address, show, goesOn) {
  return new Promise((done) => {
    const source = new EventSource(address);
    const watch = setInterval(() => goesOn() || end(true), STEP);
    const end = (/** @type {boolean} */ again) => {
      clearInterval(watch);
      source.close();
      done(again);
    };
    source.addEventListener("progress", (event) => show(JSON.parse(event.data)));
    source.addEventListener("end", () => end(true));
    // Streams are short: one that has ended is opened anew by the browser, one that was refused is closed.
    source.addEventListener("error", () => {
      if (source.readyState === EventSource.CLOSED) {
        end(false);
      }
    });
  });
}
