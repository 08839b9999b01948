// Which part of a picture is in sight. Lengths on the screen are CSS pixels.

const SMALLEST = 0.25;
const LARGEST = 16;

/** A way from source pixels to a view, with the source position `cx`, `cy` in its middle. */
export class Camera {
  constructor() {
    this.cx = 0;
    this.cy = 0;
    /** CSS pixels for one source pixel. */
    this.scale = 0;
    /** The scale at which everything fits. */
    this.fitted = 0;
    this.flip = false;
    /** Whether a person has moved it since it was fitted. */
    this.touched = false;
    /** Source pixels of the picture, and CSS pixels of the view. */
    this.extent = [Infinity, Infinity];
    this.view = [0, 0];
  }

  /**
   * @param {number} x
   * @param {number} y
   * @param {number} width of the view
   * @param {number} height of the view
   * @returns {[number, number]}
   */
  toScreen(x, y, width, height) {
    const direction = this.flip ? -1 : 1;
    return [width / 2 + direction * this.scale * (x - this.cx), height / 2 + this.scale * (y - this.cy)];
  }

  /**
   * @param {number} x
   * @param {number} y
   * @param {number} width of the view
   * @param {number} height of the view
   * @returns {[number, number]}
   */
  toSource(x, y, width, height) {
    const direction = this.flip ? -1 : 1;
    return [this.cx + (direction * (x - width / 2)) / this.scale, this.cy + (y - height / 2) / this.scale];
  }

  /**
   * Move, as far as a piece of the picture stays in sight.
   *
   * @param {number} dx on the screen
   * @param {number} dy
   */
  move(dx, dy) {
    const within = (value, axis) => {
      const air = (0.45 * this.view[axis]) / this.scale;
      return Math.min(this.extent[axis] + air, Math.max(-air, value));
    };
    this.cx = within(this.cx - ((this.flip ? -1 : 1) * dx) / this.scale, 0);
    this.cy = within(this.cy - dy / this.scale, 1);
    this.touched = true;
  }

  /**
   * Enlarge about a point that stays where it is.
   *
   * @param {number} factor
   * @param {number} x of the point on the screen
   * @param {number} y
   * @param {number} width of the view
   * @param {number} height of the view
   */
  zoom(factor, x, y, width, height) {
    const [sx, sy] = this.toSource(x, y, width, height);
    this.scale = Math.min(LARGEST, Math.max(this.fitted * SMALLEST, this.scale * factor));
    const [nx, ny] = this.toScreen(sx, sy, width, height);
    this.move(x - nx, y - ny);
  }
}

/**
 * @typedef {{box: number[], chest: "left" | "right" | null, side: "left" | "right" | null}} Lying
 *   box: around what is to be seen, in source pixels; chest: side of the stored picture with the chest wall; side: where
 *   the neighbouring view hangs, which the chest wall is to touch.
 */

/**
 * Scale at which a box fits into a view, with a little air where it does not touch its neighbour.
 *
 * @param {number[]} box
 * @param {number} width
 * @param {number} height
 * @returns {number}
 */
export function fitting(box, width, height) {
  return Math.min((0.98 * width) / (box[2] - box[0]), (0.96 * height) / (box[3] - box[1]));
}

/**
 * Put a camera so that a picture hangs: the chest wall at the seam, else in the middle.
 *
 * @param {Camera} camera
 * @param {Lying} lying
 * @param {number} scale
 * @param {number} width of the view
 */
export function hang(camera, lying, scale, width) {
  const [x0, y0, x1, y1] = lying.box;
  camera.scale = scale;
  camera.fitted = scale;
  camera.touched = false;
  camera.cy = (y0 + y1) / 2;
  camera.cx = (x0 + x1) / 2;
  if (lying.side && lying.chest) {
    camera.cx = lying.chest === "right" ? x1 - width / (2 * scale) : x0 + width / (2 * scale);
  }
}
