// What stands on a view's canvas. Positions here are device pixels unless said otherwise.

import { painted } from "./tiles.js";

/**
 * @typedef {{context: CanvasRenderingContext2D, width: number, height: number, camera: import("./camera.js").Camera,
 *   ratio: number}} Sheet
 *   width, height: CSS pixels; ratio: device pixels for one of them.
 */

const CAPITAL = 12;

/**
 * Draw the picture from tiles, coarser ones where finer ones have not come.
 *
 * @param {Sheet} sheet
 * @param {import("./tiles.js").Levels} levels
 * @param {Uint32Array} table
 * @param {HTMLImageElement | null} small shown until the first tile has come
 * @returns {[number, number, number][]} tiles that are missing: level, x, y
 */
export function drawPicture(sheet, levels, table, small) {
  const { context, camera } = sheet;
  const info = /** @type {import("./tiles.js").Info} */ (levels.info);
  const scale = camera.scale * sheet.ratio;
  const [width, height] = [sheet.width * sheet.ratio, sheet.height * sheet.ratio];
  const across = (x) => Math.round(width / 2 + scale * (x - camera.cx));
  const down = (y) => Math.round(height / 2 + scale * (y - camera.cy));
  const last = info.levels.length - 1;
  const level = Math.min(last, Math.max(0, Math.floor(Math.log2(1 / scale) + 0.01)));
  const missing = [];
  context.imageSmoothingEnabled = true;
  if (small && !levels.tile(last, 0, 0)) {
    context.drawImage(small, across(0), down(0), across(info.columns) - across(0), down(info.rows) - down(0));
  }
  const size = info.tile * 2 ** level;
  const range = (middle, half, count) => [
    Math.max(0, Math.floor((middle - half) / size)),
    Math.min(count - 1, Math.floor((middle + half) / size)),
  ];
  const { rows, columns } = info.levels[level];
  const [left, right] = range(camera.cx, width / 2 / scale, Math.ceil(columns / info.tile));
  const [top, bottom] = range(camera.cy, height / 2 / scale, Math.ceil(rows / info.tile));
  for (let y = top; y <= bottom; y += 1) {
    for (let x = left; x <= right; x += 1) {
      const wide = Math.min(info.tile, columns - x * info.tile);
      const tall = Math.min(info.tile, rows - y * info.tile);
      const [x0, y0] = [across(x * size), down(y * size)];
      const x1 = across(x * size + wide * 2 ** level);
      const y1 = down(y * size + tall * 2 ** level);
      const tile = levels.tile(level, x, y);
      if (tile) {
        context.drawImage(painted(tile, table), x0, y0, x1 - x0, y1 - y0);
        continue;
      }
      missing.push([level, x, y]);
      drawCoarser(context, levels, table, level, x, y, wide, tall, [x0, y0, x1 - x0, y1 - y0]);
    }
  }
  if (missing.length && level !== last) {
    missing.unshift(...places(info, last).filter((place) => !levels.tile(...place)));
  }
  return missing;
}

/** All tiles of a level. */
function places(info, level) {
  const { rows, columns } = info.levels[level];
  const found = [];
  for (let y = 0; y * info.tile < rows; y += 1) {
    for (let x = 0; x * info.tile < columns; x += 1) {
      found.push([level, x, y]);
    }
  }
  return found;
}

/** Draw a tile's place from the finest coarser tile that is here. */
function drawCoarser(context, levels, table, level, x, y, wide, tall, target) {
  const { tile: size, levels: known } = levels.info;
  for (let coarse = level + 1; coarse < known.length; coarse += 1) {
    const factor = 2 ** (coarse - level);
    const [cx, cy] = [Math.floor(x / factor), Math.floor(y / factor)];
    const tile = levels.tile(coarse, cx, cy);
    if (tile) {
      const from = [(x * size) / factor - cx * size, (y * size) / factor - cy * size, wide / factor, tall / factor];
      context.drawImage(painted(tile, table), ...from, ...target);
      return;
    }
  }
}

/**
 * Lay the map over the picture.
 *
 * @param {Sheet} sheet
 * @param {import("./heat.js").Heat} heat
 * @param {HTMLCanvasElement} tint
 * @param {boolean} line whether to draw the contour
 */
export function drawHeat(sheet, heat, tint, line) {
  const { context, camera } = sheet;
  const scale = camera.scale * sheet.ratio;
  const [x0, y0, x1, y1] = heat.place.box;
  const left = (sheet.width * sheet.ratio) / 2 + scale * (x0 - camera.cx);
  const top = (sheet.height * sheet.ratio) / 2 + scale * (y0 - camera.cy);
  context.drawImage(tint, left, top, scale * (x1 - x0), scale * (y1 - y0));
  if (!line || !heat.line) {
    return;
  }
  const across = (scale * (x1 - x0)) / heat.place.columns;
  const down = (scale * (y1 - y0)) / heat.place.rows;
  const placed = new Path2D();
  placed.addPath(heat.line, new DOMMatrix([across, 0, 0, down, left, top]));
  context.lineJoin = "round";
  for (const [colour, stroke] of [["rgb(0 0 0 / 0.6)", 3], ["rgb(255 255 255 / 0.9)", 1.25]]) {
    context.strokeStyle = colour;
    context.lineWidth = stroke * sheet.ratio;
    context.stroke(placed);
  }
}

/**
 * Draw numbered boxes, not turned with the picture.
 *
 * @param {Sheet} sheet
 * @param {{box: number[]}[]} regions
 * @param {number} chosen number of the one to be seen first; 0: none
 * @param {string} accent its colour
 */
export function drawBoxes(sheet, regions, chosen, accent) {
  const { context, ratio } = sheet;
  regions.forEach(({ box }, index) => {
    const [ax, ay] = onSheet(sheet, box[0], box[1]);
    const [bx, by] = onSheet(sheet, box[2], box[3]);
    const [x, y, wide, tall] = [Math.min(ax, bx), ay, Math.abs(bx - ax), by - ay];
    const own = index + 1 === chosen;
    context.lineJoin = "miter";
    context.strokeStyle = "rgb(0 0 0 / 0.7)";
    context.lineWidth = ratio * (own ? 5 : 3.5);
    context.strokeRect(x, y, wide, tall);
    context.strokeStyle = own ? accent : "#fff";
    context.lineWidth = ratio * (own ? 2.5 : 1.5);
    context.strokeRect(x, y, wide, tall);
    const side = 17 * ratio;
    const top = y >= side ? y - side : y;
    context.fillStyle = own ? accent : "#fff";
    context.fillRect(x - ratio, top, side, side);
    write(context, String(index + 1), x - ratio + side / 2, top + side / 2, ratio, "#000", "center");
  });
}

/**
 * Draw measured distances with their lengths.
 *
 * @param {Sheet} sheet
 * @param {{from: number[], to: number[]}[]} rulers in source pixels
 * @param {(ruler: {from: number[], to: number[]}) => string} length in words
 */
export function drawRulers(sheet, rulers, length) {
  const { context, ratio } = sheet;
  for (const ruler of rulers) {
    const [ax, ay] = onSheet(sheet, ...ruler.from);
    const [bx, by] = onSheet(sheet, ...ruler.to);
    const across = Math.hypot(bx - ax, by - ay) || 1;
    const [nx, ny] = [((by - ay) / across) * 5 * ratio, ((ax - bx) / across) * 5 * ratio];
    const path = new Path2D();
    path.moveTo(ax, ay);
    path.lineTo(bx, by);
    for (const [x, y] of [[ax, ay], [bx, by]]) {
      path.moveTo(x - nx, y - ny);
      path.lineTo(x + nx, y + ny);
    }
    for (const [colour, stroke] of [["rgb(0 0 0 / 0.7)", 4], ["#ffe08a", 1.5]]) {
      context.strokeStyle = colour;
      context.lineWidth = stroke * ratio;
      context.stroke(path);
    }
    const words = length(ruler);
    font(context, ratio);
    const wide = context.measureText(words).width + 10 * ratio;
    const limit = sheet.width * ratio - wide;
    const left = Math.max(0, Math.min(limit, (ax + bx) / 2 + 8 * ratio));
    const top = Math.max(0, Math.min((sheet.height - 20) * ratio, (ay + by) / 2 - 10 * ratio));
    context.fillStyle = "rgb(0 0 0 / 0.75)";
    context.fillRect(left, top, wide, 20 * ratio);
    write(context, words, left + 5 * ratio, top + 10 * ratio, ratio, "#ffe08a", "left");
  }
}

/**
 * Draw the cross that the keyboard moves.
 *
 * @param {Sheet} sheet
 * @param {[number, number]} place in CSS pixels
 */
export function drawCross(sheet, [x, y]) {
  const { context, ratio } = sheet;
  const path = new Path2D();
  path.moveTo((x - 10) * ratio, y * ratio);
  path.lineTo((x + 10) * ratio, y * ratio);
  path.moveTo(x * ratio, (y - 10) * ratio);
  path.lineTo(x * ratio, (y + 10) * ratio);
  for (const [colour, stroke] of [["rgb(0 0 0 / 0.7)", 4], ["#ffe08a", 1.5]]) {
    context.strokeStyle = colour;
    context.lineWidth = stroke * ratio;
    context.stroke(path);
  }
}

/** @param {Sheet} sheet @param {number} x @param {number} y source pixels @returns {[number, number]} device pixels */
function onSheet(sheet, x, y) {
  const [sx, sy] = sheet.camera.toScreen(x, y, sheet.width, sheet.height);
  return [sx * sheet.ratio, sy * sheet.ratio];
}

function font(context, ratio) {
  context.font = `600 ${CAPITAL * ratio}px system-ui, sans-serif`;
}

function write(context, words, x, y, ratio, ink, align) {
  font(context, ratio);
  context.textAlign = align;
  context.textBaseline = "middle";
  context.fillStyle = ink;
  context.fillText(words, x, y);
}
