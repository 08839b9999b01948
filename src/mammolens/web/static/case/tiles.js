// A picture's resolutions, fetched tile by tile: what is in sight first, what has left it not at all.

import { problem } from "../shell/requests.js";

/**
 * @typedef {{data: Uint16Array, width: number, height: number, canvas: HTMLCanvasElement | null, painted: object | null}} Tile
 * @typedef {{tag: string, tile: number, tiles: string, rows: number, columns: number, levels: {rows: number, columns: number}[],
 *   minimum: number, maximum: number, window: {low: number, high: number, gamma: number},
 *   modality: {slope: number, intercept: number} | null, presets: object[],
 *   breast: {box: number[], chest_wall: "left" | "right"} | null}} Info
 */

const KEPT = 320;
const AT_ONCE = 6;
const PATIENCE = 40;

/** @type {Map<string, Tile>} least recently used first */
const kept = new Map();
/** @type {Set<Levels>} */
const hungry = new Set();
let underWay = 0;

/** @param {number} milliseconds */
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** The resolutions of one picture. */
export class Levels {
  /**
   * @param {string} address of levels.json
   * @param {() => void} changed called when a tile has come
   */
  constructor(address, changed) {
    this.address = address;
    /** @type {Set<() => void>} */
    this.listeners = new Set([changed]);
    /** @type {Info | null} */
    this.info = null;
    /** @type {string[]} */
    this.wanted = [];
    this.loading = new Set();
  }

  /**
   * Ask for the description; the server makes the resolutions where they are missing.
   *
   * @param {() => void} busy called when the server asks for patience
   */
  async open(busy) {
    for (let attempt = 0; ; attempt += 1) {
      const answer = await fetch(this.address, { credentials: "same-origin", headers: { Accept: "application/json" } });
      if (answer.ok) {
        this.info = await answer.json();
        return;
      }
      if (answer.status !== 503 || attempt >= PATIENCE) {
        throw new Error(await problem(answer));
      }
      busy();
      await pause(Math.min(4000, 700 + 300 * attempt));
    }
  }

  /**
   * A tile, if it is here.
   *
   * @param {number} level
   * @param {number} x
   * @param {number} y
   * @returns {Tile | undefined}
   */
  tile(level, x, y) {
    const key = this.key(level, x, y);
    const found = kept.get(key);
    if (found) {
      kept.delete(key);
      kept.set(key, found);
    }
    return found;
  }

  /**
   * Say which tiles are in sight and missing; replaces what was said before.
   *
   * @param {[number, number, number][]} places level, x, y
   */
  want(places) {
    this.wanted = places.map((place) => place.join("/")).filter((place) => !this.loading.has(place));
    if (this.wanted.length) {
      hungry.add(this);
    } else {
      hungry.delete(this);
    }
    feed();
  }

  /** @param {number} level @param {number} x @param {number} y */
  key(level, x, y) {
    return `${this.address} ${level}/${x}/${y}`;
  }

  /** @param {string} place */
  async fetch(place) {
    this.loading.add(place);
    underWay += 1;
    try {
      const info = /** @type {Info} */ (this.info);
      const answer = await fetch(`${info.tiles}${place}?v=${info.tag}`, { credentials: "same-origin" });
      if (!answer.ok) {
        throw new Error(String(answer.status));
      }
      const data = new Uint16Array(await answer.arrayBuffer());
      const [level, x, y] = place.split("/").map(Number);
      const width = Math.min(info.tile, info.levels[level].columns - info.tile * x);
      kept.set(this.key(level, x, y), { data, width, height: data.length / width, canvas: null, painted: null });
      while (kept.size > KEPT) {
        kept.delete(/** @type {string} */ (kept.keys().next().value));
      }
      this.loading.delete(place);
      for (const changed of this.listeners) {
        changed();
      }
    } catch {
      // Asked for again at the next drawing, but not at once: the server, or the way to it, is in trouble.
      setTimeout(() => {
        this.loading.delete(place);
        for (const changed of this.listeners) {
          changed();
        }
      }, 3000);
    } finally {
      underWay -= 1;
      feed();
    }
  }
}

/** Begin as many requests as may run at once, in turn for each picture. */
function feed() {
  while (underWay < AT_ONCE && hungry.size) {
    const levels = /** @type {Levels} */ (hungry.values().next().value);
    hungry.delete(levels);
    const place = levels.wanted.shift();
    if (levels.wanted.length) {
      hungry.add(levels);
    }
    if (place !== undefined) {
      levels.fetch(place);
    }
  }
}

/**
 * A tile as a picture, its greys by a table; painted anew only when the table has changed.
 *
 * @param {Tile} tile
 * @param {Uint32Array} table from a value to a colour as ImageData stores it
 * @returns {HTMLCanvasElement}
 */
export function painted(tile, table) {
  if (tile.canvas && tile.painted === table) {
    return tile.canvas;
  }
  tile.canvas ??= Object.assign(document.createElement("canvas"), { width: tile.width, height: tile.height });
  const context = /** @type {CanvasRenderingContext2D} */ (tile.canvas.getContext("2d"));
  const picture = context.createImageData(tile.width, tile.height);
  const pixels = new Uint32Array(picture.data.buffer);
  const { data } = tile;
  for (let index = 0; index < data.length; index += 1) {
    pixels[index] = table[data[index]];
  }
  context.putImageData(picture, 0, 0);
  tile.painted = table;
  return tile.canvas;
}
