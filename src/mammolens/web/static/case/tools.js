// The buttons above the pictures and the keys that do the same.

import { onKey } from "../shell/keys.js";
import { fill } from "../shell/words.js";
import { tints } from "./heat.js";
import { short } from "./window.js";

/**
 * Wire the tools.
 *
 * @param {import("./stage.js").Stage} stage
 */
export function wireTools(stage) {
  const tools = /** @type {HTMLElement} */ (document.getElementById("tools"));
  tools.hidden = false;
  const switches = switchesOf(stage);
  for (const button of tools.querySelectorAll("[data-tool]")) {
    button.addEventListener("click", () => chooseTool(stage, button.dataset.tool));
  }
  for (const button of tools.querySelectorAll("[data-switch]")) {
    button.addEventListener("click", () => switches[button.dataset.switch].turn());
  }
  tools.querySelector('[data-act="fit"]').addEventListener("click", () => stage.reset());
  tools.querySelector('[data-act="full"]').addEventListener("click", () => stage.full());
  const preset = /** @type {HTMLSelectElement} */ (document.getElementById("preset"));
  preset.addEventListener("change", () => stage.choosePreset(preset.value === "" ? -1 : Number(preset.value)));
  const look = wireLook(stage);
  wireKeys(stage, switches, preset);
  stage.listeners.add(() => {
    for (const button of tools.querySelectorAll("[data-tool]")) {
      button.setAttribute("aria-pressed", String(button.dataset.tool === stage.tool));
    }
    for (const button of tools.querySelectorAll("[data-switch]")) {
      button.setAttribute("aria-pressed", String(switches[button.dataset.switch].on()));
    }
    stage.element.dataset.tool = stage.tool;
    listPresets(stage, preset);
    look();
  });
  stage.changed();
}

function chooseTool(stage, tool) {
  stage.tool = tool;
  for (const view of stage.all) {
    view.cross = false;
    view.ruler = null;
  }
  stage.changed();
}

/** What each switch does and whether it is on. */
function switchesOf(stage) {
  return {
    invert: {
      on: () => stage.shown.invert,
      turn: () => {
        stage.shown = { ...stage.shown, invert: !stage.shown.invert };
        stage.changed();
      },
    },
    flip: {
      on: () => Boolean(stage.active && stage.active.camera.flip !== stage.active.image.flipped),
      turn: () => stage.flip(),
    },
    magnifier: {
      on: () => stage.magnifier,
      turn: () => {
        stage.magnifier = !stage.magnifier;
        stage.changed();
      },
    },
    large: {
      on: () => stage.large !== null,
      turn: () => stage.enlarge(stage.large ? null : (stage.active ?? stage.views[0])),
    },
    pair: { on: () => stage.pair, turn: () => stage.togglePair() },
    map: {
      on: () => stage.look.map,
      turn: () => {
        stage.setLook({ map: !stage.look.map });
        stage.speak(stage.look.map ? stage.words.map_on : stage.words.map_off);
      },
    },
  };
}

/** Fill the list of windows from the active view's file, once for each file. */
function listPresets(stage, select) {
  const view = stage.active;
  if (view?.info && select.dataset.of !== view.image.id) {
    select.dataset.of = view.image.id;
    const { words } = stage;
    const options = view.info.presets.map((preset, index) => {
      const name = words[preset.name] ?? fill(words.unnamed, { number: index + 1 });
      const figures = preset.shown ? ` (${short(preset.shown.centre)} / ${short(preset.shown.width)})` : ` (${words.table})`;
      return new Option(fill(words.preset, { name }) + figures, String(index));
    });
    select.replaceChildren(new Option(words.default, ""), ...options);
  }
  select.value = stage.shown.preset < 0 ? "" : String(stage.shown.preset);
}

/** The menu of how the map looks; gives a function that shows how it stands. */
function wireLook(stage) {
  const field = (id) => /** @type {HTMLInputElement} */ (document.getElementById(id));
  const opacity = field("opacity");
  opacity.addEventListener("input", () => stage.setLook({ opacity: Number(opacity.value) / 100 }));
  for (const name of ["contour", "boxes"]) {
    field(name).addEventListener("change", () => stage.setLook({ [name]: field(name).checked }));
  }
  const colours = [...document.querySelectorAll('input[name="colours"]')];
  for (const choice of colours) {
    choice.addEventListener("change", () => stage.setLook({ colours: choice.value }));
  }
  const links = [...document.querySelectorAll("a[data-colours]")];
  return () => {
    opacity.value = String(Math.round(100 * stage.look.opacity));
    field("contour").checked = stage.look.contour;
    field("boxes").checked = stage.look.boxes;
    for (const choice of colours) {
      choice.checked = choice.value === stage.look.colours;
    }
    for (const link of links) {
      const address = new URL(link.href);
      address.searchParams.set("colours", stage.look.colours);
      link.href = address.href;
    }
    drawBar(stage);
  };
}

/** Draw the colour bar as the colours look on tissue of a middle grey. */
function drawBar(stage) {
  if (!stage.colours) {
    return;
  }
  const context = document.getElementById("colour-bar").getContext("2d");
  const picture = context.createImageData(256, 1);
  tints(stage.colours, stage.look.colours, stage.look.opacity).forEach((tint, value) => {
    const alpha = (tint >>> 24) / 255;
    for (let part = 0; part < 3; part += 1) {
      picture.data[4 * value + part] = ((tint >>> (8 * part)) & 255) * alpha + 96 * (1 - alpha);
    }
    picture.data[4 * value + 3] = 255;
  });
  context.putImageData(picture, 0, 0);
}

/** Keys that act wherever the focus is; those of the pictures themselves are in hands.js. */
function wireKeys(stage, switches, preset) {
  const letters = { i: "invert", f: "flip", m: "magnifier", s: "pair", h: "map" };
  for (const [letter, name] of Object.entries(letters)) {
    onKey(letter, () => switches[name].turn());
  }
  for (const [letter, tool] of Object.entries({ w: "window", v: "pan", r: "ruler" })) {
    onKey(letter, () => chooseTool(stage, tool));
  }
  onKey("0", () => stage.reset());
  onKey("z", () => stage.full());
  onKey("e", () => {
    const next = stage.shown.preset + 1;
    stage.choosePreset(next < (stage.active?.info?.presets.length ?? 0) ? next : -1);
    stage.speak(preset.selectedOptions[0]?.text ?? "");
  });
  onKey("c", () => stage.setLook({ colours: stage.look.colours === "inferno" ? "cividis" : "inferno" }));
  onKey("k", () => stage.setLook({ contour: !stage.look.contour }));
  onKey("b", () => stage.setLook({ boxes: !stage.look.boxes }));
  const opacity = (change) => Math.round(100 * Math.min(0.8, Math.max(0.1, stage.look.opacity + change))) / 100;
  onKey(",", () => stage.setLook({ opacity: opacity(-0.1) }));
  onKey(".", () => stage.setLook({ opacity: opacity(0.1) }));
  for (let number = 1; number <= 9; number += 1) {
    onKey(String(number), () => {
      const id = stage.data.order[number - 1];
      if (id) {
        stage.enlargeImage(id);
      }
    });
  }
  onKey("Escape", () => {
    if (stage.large && !document.querySelector("details.menu[open]")) {
      stage.enlarge(null);
    }
  });
}
