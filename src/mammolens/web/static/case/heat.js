// The heat map: tint that rises with the evidence, and the line at the region threshold.

/**
 * @typedef {{rows: number, columns: number, box: number[], contour: number, grid: string}} Place
 * @typedef {{inferno: number[][], cividis: number[][], alpha: number[]}} Colours
 */

/** The map of one answer. */
export class Heat {
  /** @param {Place} place */
  constructor(place) {
    this.place = place;
    /** @type {Uint8Array | null} */
    this.values = null;
    /** @type {HTMLCanvasElement | null} */
    this.canvas = null;
    /** @type {Path2D | null} */
    this.line = null;
    this.made = "";
  }

  async open() {
    const answer = await fetch(this.place.grid, { credentials: "same-origin" });
    if (!answer.ok) {
      throw new Error(String(answer.status));
    }
    this.values = new Uint8Array(await answer.arrayBuffer());
    this.line = contour(this.values, this.place.rows, this.place.columns, this.place.contour * 255);
  }

  /**
   * The tint as a picture of the grid's size.
   *
   * @param {Colours} colours
   * @param {string} name
   * @param {number} opacity where the evidence is strongest, 0 to 1
   * @returns {HTMLCanvasElement | null}
   */
  tint(colours, name, opacity) {
    if (!this.values) {
      return null;
    }
    const wish = `${name} ${opacity}`;
    if (this.made !== wish) {
      const { rows, columns } = this.place;
      this.canvas ??= Object.assign(document.createElement("canvas"), { width: columns, height: rows });
      const context = /** @type {CanvasRenderingContext2D} */ (this.canvas.getContext("2d"));
      const picture = context.createImageData(columns, rows);
      const pixels = new Uint32Array(picture.data.buffer);
      const table = tints(colours, name, opacity);
      for (let index = 0; index < pixels.length; index += 1) {
        pixels[index] = table[this.values[index]];
      }
      context.putImageData(picture, 0, 0);
      this.made = wish;
    }
    return this.canvas;
  }
}

/**
 * Tint of each of the 256 values, as ImageData stores it.
 *
 * @param {Colours} colours
 * @param {string} name
 * @param {number} opacity
 * @returns {Uint32Array}
 */
export function tints(colours, name, opacity) {
  const most = colours.alpha[255];
  return Uint32Array.from(colours[name], ([red, green, blue], value) => {
    const alpha = Math.round((255 * opacity * colours.alpha[value]) / most);
    return ((alpha << 24) | (blue << 16) | (green << 8) | red) >>> 0;
  });
}

/**
 * Line where the grid reaches a level: marching squares between the centres of its pixels.
 *
 * @param {Uint8Array} values
 * @param {number} rows
 * @param {number} columns
 * @param {number} level
 * @returns {Path2D} in grid units: pixel (r, c) covers [c, c + 1) x [r, r + 1)
 */
function contour(values, rows, columns, level) {
  const path = new Path2D();
  // One pixel of nothing around, so that a line closes at the grid's edge.
  const at = (row, column) => (row < 0 || column < 0 || row >= rows || column >= columns ? 0 : values[row * columns + column]);
  for (let row = -1; row < rows; row += 1) {
    for (let column = -1; column < columns; column += 1) {
      const corners = [at(row, column), at(row, column + 1), at(row + 1, column + 1), at(row + 1, column)];
      const kind = corners.reduce((bits, value, corner) => bits | (value >= level ? 1 << corner : 0), 0);
      if (kind === 0 || kind === 15) {
        continue;
      }
      const x = column + 0.5;
      const y = row + 0.5;
      const between = (first, second) => (level - first) / (second - first);
      const points = [
        () => [x + between(corners[0], corners[1]), y],
        () => [x + 1, y + between(corners[1], corners[2])],
        () => [x + between(corners[3], corners[2]), y + 1],
        () => [x, y + between(corners[0], corners[3])],
      ];
      for (const [from, to] of EDGES[kind]) {
        path.moveTo(...points[from]());
        path.lineTo(...points[to]());
      }
    }
  }
  return path;
}

/** Which edges (upper, right, lower, left) a line joins, for each set of corners (from the upper left, clockwise) inside. */
const EDGES = [
  [], [[3, 0]], [[0, 1]], [[3, 1]], [[1, 2]], [[3, 0], [1, 2]], [[0, 2]], [[3, 2]],
  [[2, 3]], [[0, 2]], [[0, 1], [2, 3]], [[1, 2]], [[3, 1]], [[0, 1]], [[3, 0]], [],
];
