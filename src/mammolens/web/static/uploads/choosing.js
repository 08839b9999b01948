// What somebody dropped or chose, as a plain list of files with the folders they stand in.

/** @typedef {{file: File, path: string}} Chosen */

const LITTER = new Set(["thumbs.db", "desktop.ini", "autorun.inf", "dicomdir"]);

/**
 * What systems leave beside pictures: hidden files, thumbnails, the directory of a DICOM disc.
 *
 * @param {string} path
 */
export function isLitter(path) {
  const parts = path.toLowerCase().split("/");
  const name = parts.at(-1) ?? "";
  return name.startsWith(".") || LITTER.has(name) || parts.includes("__macosx");
}

/**
 * Files of an <input type="file">.
 *
 * @param {HTMLInputElement} input
 * @returns {Chosen[]}
 */
export function chosenIn(input) {
  return [...(input.files ?? [])].map((file) => ({ file, path: file.webkitRelativePath || file.name }));
}

/**
 * Files of a drop, folders walked through. To be called while the event is being handled: its data are gone later.
 *
 * @param {DataTransfer} data
 * @returns {Promise<Chosen[]>}
 */
export async function droppedIn(data) {
  const entries = [...data.items].filter((item) => item.kind === "file").map((item) => item.webkitGetAsEntry?.());
  if (!entries.length || entries.some((entry) => !entry)) {
    return [...data.files].map((file) => ({ file, path: file.name }));
  }
  const found = await Promise.all(entries.map((entry) => filesOf(entry)));
  return found.flat();
}

/**
 * @param {FileSystemEntry} entry
 * @returns {Promise<Chosen[]>}
 */
async function filesOf(entry) {
  if (entry.isFile) {
    const file = await new Promise((give, fail) => entry.file(give, fail));
    return [{ file, path: entry.fullPath.replace(/^\/+/, "") }];
  }
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    // A reader gives a part of its folder at a time, and an empty one at the end.
    const part = await new Promise((give, fail) => reader.readEntries(give, fail));
    if (!part.length) {
      return found;
    }
    for (const inner of part) {
      found.push(...(await filesOf(inner)));
    }
  }
}
