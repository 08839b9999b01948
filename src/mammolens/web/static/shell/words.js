// Words for scripts: templates write them, translated, as JSON in <script type="application/json" id="…-words">.

/**
 * All words of one script.
 *
 * @param {string} id of the element
 * @returns {Record<string, string>}
 */
export function wordsOf(id) {
  return JSON.parse(document.getElementById(id)?.textContent ?? "{}");
}

const shell = wordsOf("shell-words");

/**
 * A word of the frame.
 *
 * @param {string} name
 * @returns {string}
 */
export function word(name) {
  return shell[name] ?? name;
}

/**
 * Put values into a text: fill("{done} of {all}", {done: 2, all: 6}).
 *
 * @param {string} text
 * @param {Record<string, string | number>} values
 * @returns {string}
 */
export function fill(text, values) {
  return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}
