// All views of a case together: how they are arranged, and what holds for all of them.

import { csrfToken } from "../shell/requests.js";
import { fill } from "../shell/words.js";
import { fitting, hang } from "./camera.js";
import { wireHands } from "./hands.js";
import { View } from "./view.js";
import { asItComes } from "./window.js";

/** The pictures of a case. */
export class Stage {
  /**
   * @param {HTMLElement} element
   * @param {object} data as the page gives them
   */
  constructor(element, data) {
    this.element = element;
    this.data = data;
    this.words = data.words;
    this.look = data.look;
    this.shown = asItComes();
    this.tool = "window";
    this.magnifier = false;
    this.pair = false;
    /** @type {View | null} */
    this.large = null;
    /** @type {View | null} the view that keys and tools act on */
    this.active = null;
    /** Whether somebody has chosen the active view. */
    this.handled = false;
    /** @type {View | null} the original beside a large view */
    this.beside = null;
    this.chosen = { id: "", number: 0 };
    /** @type {import("./heat.js").Colours | null} */
    this.colours = null;
    this.accent = getComputedStyle(document.body).getPropertyValue("--accent").trim() || "#6cc7f5";
    /** @type {View[]} */
    this.views = [];
    /** @type {Set<(stage: Stage) => void>} */
    this.listeners = new Set();
    for (const cell of element.querySelectorAll("[data-image]")) {
      this.add(cell);
    }
  }

  /** Whether the screen has room for pictures and findings side by side. */
  get roomy() {
    return window.matchMedia("(min-width: 900px)").matches;
  }

  /** @param {HTMLElement} cell */
  add(cell) {
    const image = this.data.images[cell.dataset.image];
    const view = new View(cell, image, this);
    this.views.push(view);
    if (!image.open) {
      view.open();
    }
    return view;
  }

  /** @param {View} view whose picture can be drawn now */
  opened(view) {
    wireHands(view, this);
    if (!this.handled) {
      this.active = this.views.find((one) => one.info) ?? null;
    }
    this.changed();
  }

  async begin() {
    const answer = await fetch(this.data.urls.colours, { credentials: "same-origin" });
    if (answer.ok) {
      this.colours = await answer.json();
      this.changed();
    }
  }

  /** @param {HTMLElement} cell @param {string} words shown in it, "" for none */
  tell(cell, words) {
    let told = cell.querySelector(".cell-told");
    if (!told) {
      told = Object.assign(document.createElement("p"), { className: "cell-told" });
      cell.append(told);
    }
    told.textContent = words;
    told.hidden = !words;
  }

  /** @param {string} words read out */
  speak(words) {
    const place = document.getElementById("spoken");
    if (place) {
      place.textContent = words;
    }
  }

  invalidate() {
    for (const view of this.all) {
      view.invalidate();
    }
  }

  get all() {
    return this.beside ? [...this.views, this.beside] : this.views;
  }

  /** Views that are in sight and can be drawn. */
  get seen() {
    const shown = this.large ? [this.large] : this.views.filter((view) => !view.cell.hidden);
    return shown.filter((view) => view.info && view.sheet.width > 1);
  }

  /** Draw anew, and let the tools show how things stand. */
  changed() {
    this.invalidate();
    for (const listener of this.listeners) {
      listener(this);
    }
  }

  /** @param {View} view */
  activate(view) {
    this.handled = true;
    const own = view.bare ? (this.large ?? view) : view;
    if (this.active !== own) {
      this.active = own;
      this.changed();
    }
    for (const other of this.views) {
      other.cell.classList.toggle("is-active", other === own && this.views.length > 1 && !this.large);
    }
  }

  /**
   * Fit the pictures that nobody has moved; all in one scale where their spacings are known, or their sizes equal.
   *
   * @param {boolean} anyway fit those too that somebody has moved
   */
  fit(anyway) {
    const views = this.seen;
    const hung = !this.large && views.length > 1 && views.every((view) => view.side);
    const spaced = hung && views.every((view) => view.image.spacing);
    const alike = hung && views.every((view) => view.info.rows === views[0].info.rows && view.info.columns === views[0].info.columns);
    const unit = (view) => (spaced ? view.image.spacing.column : 1);
    const scales = views.map((view) => fitting(view.lying.box, view.sheet.width, view.sheet.height) / unit(view));
    const common = Math.min(...scales);
    views.forEach((view, index) => {
      if (anyway || !view.camera.touched || !view.camera.scale) {
        const lying = this.large ? { ...view.lying, side: null } : view.lying;
        hang(view.camera, lying, (spaced || alike ? common : scales[index]) * unit(view), view.sheet.width);
      }
    });
    this.invalidate();
  }

  /** Undo what somebody did to window, flip, place and size. */
  reset() {
    this.shown = asItComes();
    this.chosen = { id: "", number: 0 };
    for (const view of this.views) {
      view.camera.flip = this.large ? view.camera.flip : view.image.flipped;
    }
    if (this.large) {
      this.large.camera.flip = this.large.image.flipped;
    }
    this.fit(true);
    this.changed();
  }

  /** Show one source pixel on one of the screen. */
  full() {
    const view = this.active;
    if (view?.info) {
      const { width, height, ratio } = view.sheet;
      view.camera.zoom(1 / ratio / view.camera.scale, width / 2, height / 2, width, height);
      this.changed();
    }
  }

  /** @param {View | null} view to be large; null: all as they hang */
  enlarge(view) {
    if (view?.bare) {
      return;
    }
    this.large = view;
    if (!view) {
      this.closePair();
    }
    for (const other of this.views) {
      other.cell.hidden = view !== null ? other !== view : Boolean(other.cell.dataset.further);
    }
    for (const empty of this.element.querySelectorAll(".cell-empty")) {
      empty.hidden = view !== null;
    }
    this.element.classList.toggle("is-large", view !== null);
    if (view) {
      this.activate(view);
      this.speak(view.image.name);
    }
    if (this.pair && view) {
      this.openPair();
    }
    const active = this.active;
    requestAnimationFrame(() => {
      this.all.forEach((other) => other.info && other.resized());
      this.fit(true);
      active?.canvas.focus({ preventScroll: true });
    });
    this.changed();
  }

  /** @param {string} id of an image, hung or not */
  enlargeImage(id) {
    let view = this.views.find((one) => one.image.id === id);
    if (!view && this.data.images[id]) {
      const cell = document.createElement("figure");
      cell.className = "cell";
      cell.dataset.image = id;
      cell.dataset.further = "yes";
      const picture = Object.assign(document.createElement("div"), { className: "cell-picture" });
      const name = Object.assign(document.createElement("figcaption"), { className: "cell-name", textContent: this.data.images[id].name });
      const note = Object.assign(document.createElement("span"), { className: "cell-note" });
      note.dataset.note = "";
      cell.append(picture, name, note);
      this.element.append(cell);
      view = this.add(cell);
    }
    if (view) {
      this.enlarge(view);
    }
  }

  /** Show original and map side by side, or no more. */
  togglePair() {
    this.pair = !this.pair;
    if (this.pair && !this.large) {
      this.enlarge(this.active ?? this.views[0]);
    } else if (this.pair) {
      this.openPair();
    } else {
      this.closePair();
    }
    if (this.pair && !this.look.map) {
      this.setLook({ map: true });
    }
    requestAnimationFrame(() => this.fit(true));
    this.changed();
  }

  openPair() {
    this.beside?.close();
    const { large } = this;
    if (!large?.info) {
      return;
    }
    const cell = document.createElement("figure");
    cell.className = "cell cell-beside";
    const picture = Object.assign(document.createElement("div"), { className: "cell-picture" });
    const note = Object.assign(document.createElement("span"), { className: "cell-note" });
    note.dataset.note = "";
    cell.append(picture, note);
    large.cell.before(cell);
    this.beside = new View(cell, large.image, this, large);
    this.element.classList.add("is-pair");
    this.beside.open();
  }

  closePair() {
    this.beside?.close();
    this.beside = null;
    this.pair = false;
    this.element.classList.remove("is-pair");
  }

  /** @param {number} dx wider @param {number} dy brighter; CSS pixels of a drag */
  moveWindow(dx, dy) {
    this.shown.factor = Math.min(8, Math.max(0.02, this.shown.factor * Math.exp(dx / 250)));
    this.shown.shift = Math.min(2, Math.max(-2, this.shown.shift - (dy / 500) * Math.min(1, this.shown.factor)));
    this.changed();
  }

  /** @param {number} preset -1 for the stretch of the breast */
  choosePreset(preset) {
    this.shown = { ...asItComes(), preset, invert: this.shown.invert };
    this.changed();
  }

  flip() {
    for (const view of this.large ? [this.large] : this.seen) {
      view.camera.flip = !view.camera.flip;
    }
    this.changed();
  }

  /** Number of the chosen region, if it is in this view; else 0. */
  chosenIn(view) {
    return this.chosen.id === view.image.id ? this.chosen.number : 0;
  }

  /**
   * Choose a region.
   *
   * @param {View} view
   * @param {number} number from 1; chosen again: none
   * @param {boolean} near whether to bring it near
   */
  choose(view, number, near) {
    const again = this.chosenIn(view) === number;
    this.chosen = again ? { id: "", number: 0 } : { id: view.image.id, number };
    if (this.large && this.large !== view) {
      this.enlarge(view);
    }
    this.activate(view);
    if (again && near) {
      this.fit(true);
    } else if (near && view.info) {
      if (!this.look.map) {
        this.setLook({ map: true });
      }
      requestAnimationFrame(() => this.approach(view, view.image.regions[number - 1].box));
    }
    if (!again) {
      this.speak(fill(this.words.region, { number, name: view.image.name }));
    }
    this.changed();
  }

  /** Bring a box into the middle, large enough to be looked at. */
  approach(view, [x0, y0, x1, y1]) {
    const { camera, sheet } = view;
    camera.cx = (x0 + x1) / 2;
    camera.cy = (y0 + y1) / 2;
    const wanted = 0.4 * Math.min(sheet.width / (x1 - x0), sheet.height / (y1 - y0));
    camera.scale = Math.min(4, Math.max(camera.fitted, wanted));
    camera.touched = true;
    this.changed();
  }

  /** @param {object} changes of how the map looks; remembered with the user */
  setLook(changes) {
    Object.assign(this.look, changes);
    clearTimeout(this.remembering);
    this.remembering = setTimeout(() => this.remember(), 500);
    this.changed();
  }

  remember() {
    // A failure costs no more than the memory of a switch; the page goes on with what was chosen.
    fetch(this.data.urls.remember, {
      method: "POST",
      credentials: "same-origin",
      keepalive: true,
      headers: { "Content-Type": "application/json", "X-CSRFToken": csrfToken() },
      body: JSON.stringify(this.look),
    }).catch(() => {});
  }
}
