// One picture on its canvas: what it shows, and what a hand on it does is told to the stage.

import { fill } from "../shell/words.js";
import { Camera } from "./camera.js";
import { drawBoxes, drawCross, drawHeat, drawPicture, drawRulers } from "./drawing.js";
import { Heat } from "./heat.js";
import { Levels } from "./tiles.js";
import { numbers, table } from "./window.js";

const MAGNIFIED = 3;
const GLASS = 190;

/** One view of the case. */
export class View {
  /**
   * @param {HTMLElement} cell
   * @param {object} image as the page's data describe it
   * @param {import("./stage.js").Stage} stage
   * @param {View | null} beside another view of the same picture, whose camera and tiles this one shares
   */
  constructor(cell, image, stage, beside = null) {
    this.cell = cell;
    this.image = image;
    this.stage = stage;
    this.side = beside ? null : image.side;
    this.bare = beside !== null;
    this.camera = beside?.camera ?? new Camera();
    this.camera.flip = beside ? this.camera.flip : image.flipped;
    this.levels = beside?.levels ?? new Levels(image.levels, () => this.invalidate());
    this.heat = beside?.heat ?? (image.heat ? new Heat(image.heat) : null);
    /** @type {{from: number[], to: number[]}[]} */
    this.rulers = beside?.rulers ?? [];
    /** @type {[number, number] | null} where the pointer, or the keyboard's cross, stands; CSS pixels */
    this.pointer = null;
    this.cross = false;
    this.table = null;
    this.tableOf = "";
    this.drawing = 0;
    this.small = cell.querySelector("img");
    this.note = cell.querySelector("[data-note]");
    this.canvas = document.createElement("canvas");
    this.canvas.className = "cell-canvas";
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "application");
    this.canvas.setAttribute("aria-label", fill(stage.words.picture, { name: image.name }));
    this.context = /** @type {CanvasRenderingContext2D} */ (this.canvas.getContext("2d", { alpha: false }));
    this.sheet = { context: this.context, width: 0, height: 0, camera: this.camera, ratio: 1 };
    if (beside) {
      this.levels.listeners.add(this.redraw = () => this.invalidate());
    }
  }

  /** Fetch what is to be shown; the cell's own words stay where there is no picture. */
  async open() {
    if (!this.levels.info) {
      try {
        await this.levels.open(() => this.say(this.stage.words.busy));
      } catch (error) {
        this.say(fill(this.stage.words.failed, { reason: /** @type {Error} */ (error).message }));
        return;
      }
    }
    this.say("");
    this.cell.classList.add("is-open");
    this.cell.querySelector(".cell-picture").append(this.canvas);
    this.observer = new ResizeObserver(() => this.resized());
    this.observer.observe(this.canvas);
    this.stage.opened(this);
    if (this.heat && !this.heat.values) {
      this.heat.open().then(() => this.stage.invalidate(), (error) => this.say(fill(this.stage.words.failed, { reason: error.message })));
    }
  }

  /** Take it off the page. */
  close() {
    this.observer?.disconnect();
    if (this.redraw) {
      this.levels.listeners.delete(this.redraw);
    }
    this.cell.remove();
  }

  /** @param {string} words */
  say(words) {
    this.stage.tell(this.cell, words);
  }

  get info() {
    return this.levels.info;
  }

  /** How the picture lies: around what it is fitted, and where the chest wall is. */
  get lying() {
    const { info, image } = this;
    const whole = [0, 0, info.columns, info.rows];
    return {
      box: image.box ?? info.breast?.box ?? whole,
      chest: image.chest ?? info.breast?.chest_wall ?? null,
      side: this.side,
    };
  }

  resized() {
    const ratio = window.devicePixelRatio || 1;
    const width = Math.max(1, Math.round(this.canvas.clientWidth * ratio));
    const height = Math.max(1, Math.round(this.canvas.clientHeight * ratio));
    if (this.canvas.width !== width || this.canvas.height !== height) {
      this.canvas.width = width;
      this.canvas.height = height;
      Object.assign(this.sheet, { width: width / ratio, height: height / ratio, ratio });
      this.camera.view = [width / ratio, height / ratio];
      this.camera.extent = [this.info.columns, this.info.rows];
      this.stage.fit(false);
    }
    this.invalidate();
  }

  /** Draw at the screen's next turn. */
  invalidate() {
    this.drawing ||= requestAnimationFrame(() => {
      this.drawing = 0;
      this.draw();
    });
  }

  draw() {
    const { context, sheet, camera, stage } = this;
    if (!this.info || !camera.scale || !sheet.width) {
      return;
    }
    this.refreshTable();
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = "#000";
    context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    const missing = this.drawSheet(sheet);
    if (stage.magnifier && this.pointer && stage.active === this) {
      missing.push(...this.drawGlass());
    }
    if (this.cross && this.pointer) {
      drawCross(sheet, this.pointer);
    }
    if (!this.bare || !stage.pair) {
      this.levels.want(missing);
    } else if (missing.length && !this.levels.wanted.length) {
      this.levels.want(missing);
    }
    this.writeNote();
  }

  /** Draw picture, map and marks; which tiles are missing. */
  drawSheet(sheet) {
    const { context } = this;
    const { look, colours } = this.stage;
    const width = sheet.width * sheet.ratio;
    context.save();
    if (sheet.camera.flip) {
      context.transform(-1, 0, 0, 1, width, 0);
    }
    const missing = drawPicture(sheet, this.levels, this.table, this.small?.complete && this.small.naturalWidth ? this.small : null);
    const shown = look.map && !this.bare;
    if (shown && this.heat && colours) {
      const tint = this.heat.tint(colours, look.colours, look.opacity);
      if (tint) {
        drawHeat(sheet, this.heat, tint, look.contour);
      }
    }
    context.restore();
    if (shown && look.boxes) {
      drawBoxes(sheet, this.image.regions, this.stage.chosenIn(this), this.stage.accent);
    }
    if (sheet === this.sheet) {
      drawRulers(sheet, this.rulers, (ruler) => this.length(ruler));
    }
    return missing;
  }

  /** Draw the magnifier under the pointer. */
  drawGlass() {
    const { context, camera, sheet } = this;
    const [x, y] = this.pointer;
    const side = Math.min(GLASS, sheet.width * 0.8, sheet.height * 0.8);
    const larger = Object.assign(new Camera(), camera);
    larger.scale = Math.min(16, Math.max(camera.scale * MAGNIFIED, 1 / sheet.ratio));
    [larger.cx, larger.cy] = camera.toSource(x, y, sheet.width, sheet.height);
    const glass = { context, width: side, height: side, camera: larger, ratio: sheet.ratio };
    context.save();
    context.translate((x - side / 2) * sheet.ratio, (y - side / 2) * sheet.ratio);
    const edge = new Path2D();
    edge.rect(0, 0, side * sheet.ratio, side * sheet.ratio);
    context.save();
    context.clip(edge);
    context.fillStyle = "#000";
    context.fill(edge);
    const missing = this.drawSheet(glass);
    context.restore();
    context.strokeStyle = this.stage.accent;
    context.lineWidth = 1.5 * sheet.ratio;
    context.stroke(edge);
    context.restore();
    return missing;
  }

  refreshTable() {
    const wish = JSON.stringify(this.stage.shown);
    if (this.tableOf !== wish) {
      this.table = table(this.info, this.stage.shown);
      this.tableOf = wish;
    }
  }

  writeNote() {
    if (!this.note) {
      return;
    }
    const { words, shown, active } = this.stage;
    const parts = [];
    if (this.bare || this.stage.pair) {
      parts.push(this.bare ? words.original : words.with_map);
    }
    if (this.camera.flip) {
      parts.push(words.mirrored);
    }
    if (active === this) {
      parts.push(fill(words.level, numbers(this.info, shown)));
      parts.push(fill(words.zoom, { percent: Math.round(100 * this.camera.scale * this.sheet.ratio) }));
    }
    const note = parts.join(" · ");
    if (this.note.textContent !== note) {
      this.note.textContent = note;
    }
  }

  /**
   * A distance in words: millimetres where the spacing is known, and what they are measured at.
   *
   * @param {{from: number[], to: number[]}} ruler
   */
  length({ from, to }) {
    const { spacing } = this.image;
    const { words } = this.stage;
    const [dx, dy] = [to[0] - from[0], to[1] - from[1]];
    if (!spacing) {
      return fill(words.pixels, { length: Math.round(Math.hypot(dx, dy)) });
    }
    const millimetres = Math.hypot(dx * spacing.column, dy * spacing.row);
    return fill(words.millimetres, { length: millimetres.toFixed(1) });
  }

  /** @param {PointerEvent | WheelEvent | MouseEvent} event @returns {[number, number]} CSS pixels */
  place(event) {
    const frame = this.canvas.getBoundingClientRect();
    return [event.clientX - frame.left, event.clientY - frame.top];
  }

  /** @param {[number, number]} place CSS pixels @returns {[number, number]} source pixels */
  source(place) {
    return this.camera.toSource(...place, this.sheet.width, this.sheet.height);
  }

  /** Number of the region at a place; 0 where there is none. */
  regionAt(place) {
    const [x, y] = this.source(place);
    return this.image.regions.findIndex(({ box }) => x >= box[0] && x < box[2] && y >= box[1] && y < box[3]) + 1;
  }
}
