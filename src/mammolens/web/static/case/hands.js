// Mouse, touch and keys on one view.

const STEP = 40;
const CROSS_STEP = 12;

/**
 * Let a view be handled.
 *
 * @param {import("./view.js").View} view
 * @param {import("./stage.js").Stage} stage
 */
export function wireHands(view, stage) {
  const { canvas } = view;
  /** @type {Map<number, [number, number]>} */
  const down = new Map();
  let doing = "";
  let begun = [0, 0];
  let ruler = null;

  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    stage.activate(view);
    const place = view.place(event);
    down.set(event.pointerId, place);
    view.cross = false;
    view.pointer = place;
    begun = place;
    if (down.size === 2) {
      doing = "pinch";
    } else if (event.button === 1 || event.button === 2 || event.shiftKey) {
      doing = "pan";
    } else {
      doing = event.pointerType === "touch" && stage.tool === "window" ? "pan" : stage.tool;
    }
    if (doing === "ruler") {
      ruler = { from: view.source(place), to: view.source(place) };
    }
    stage.invalidate();
  });

  canvas.addEventListener("pointermove", (event) => {
    const place = view.place(event);
    const before = down.get(event.pointerId);
    if (!before) {
      view.pointer = view.cross ? view.pointer : place;
      if (stage.magnifier) {
        stage.activate(view);
        view.invalidate();
      }
      return;
    }
    view.pointer = place;
    const [dx, dy] = [place[0] - before[0], place[1] - before[1]];
    if (doing === "pinch") {
      pinch(view, down, event.pointerId, place);
    } else if (doing === "pan") {
      view.camera.move(dx, dy);
    } else if (doing === "window") {
      stage.moveWindow(dx, -dy);
    } else if (doing === "ruler" && ruler) {
      ruler.to = view.source(place);
      if (!view.rulers.includes(ruler) && Math.hypot(place[0] - begun[0], place[1] - begun[1]) > 3) {
        view.rulers.push(ruler);
      }
    }
    down.set(event.pointerId, place);
    stage.invalidate();
  });

  const up = (event) => {
    const place = view.place(event);
    const still = Math.hypot(place[0] - begun[0], place[1] - begun[1]) < 4;
    if (event.type === "pointerup" && still && event.button === 0 && doing !== "ruler" && doing !== "pinch") {
      const region = view.regionAt(place);
      if (region && stage.look.map && !view.bare) {
        stage.choose(view, region, false);
      }
    }
    down.delete(event.pointerId);
    doing = down.size ? "pan" : "";
    ruler = null;
  };
  canvas.addEventListener("pointerup", up);
  canvas.addEventListener("pointercancel", up);
  canvas.addEventListener("pointerleave", () => {
    if (!down.size && !view.cross) {
      view.pointer = null;
      view.invalidate();
    }
  });
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("dblclick", () => stage.enlarge(stage.large ? null : view));
  canvas.addEventListener("focus", () => stage.activate(view));
  canvas.addEventListener(
    "wheel",
    (event) => {
      if (!stage.roomy && !stage.large && !event.ctrlKey) {
        return; // On a small screen the wheel belongs to the page.
      }
      event.preventDefault();
      stage.activate(view);
      const lines = event.deltaMode === 1 ? 20 : 1;
      const factor = Math.exp(-event.deltaY * lines * 0.0015);
      view.camera.zoom(factor, ...view.place(event), view.sheet.width, view.sheet.height);
      stage.invalidate();
    },
    { passive: false },
  );
  canvas.addEventListener("keydown", (event) => {
    if (!event.ctrlKey && !event.metaKey && !event.altKey && key(view, stage, event)) {
      event.preventDefault();
    }
  });
}

/** Zoom and move by two fingers. */
function pinch(view, down, moved, place) {
  const [other] = [...down].filter(([id]) => id !== moved).map(([, at]) => at);
  const before = down.get(moved);
  if (!other || !before) {
    return;
  }
  const span = (at) => Math.max(8, Math.hypot(at[0] - other[0], at[1] - other[1]));
  const middle = [(place[0] + other[0]) / 2, (place[1] + other[1]) / 2];
  view.camera.move((place[0] - before[0]) / 2, (place[1] - before[1]) / 2);
  view.camera.zoom(span(place) / span(before), ...middle, view.sheet.width, view.sheet.height);
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** Keys that act on the focused view; whether this was one. */
function key(view, stage, event) {
  const { width, height } = view.sheet;
  const arrow = ARROWS[event.key];
  const crossed = stage.tool === "ruler" || stage.magnifier;
  if (arrow && event.shiftKey && !crossed) {
    stage.moveWindow(arrow[0] * 16, -arrow[1] * 16);
  } else if (arrow && crossed) {
    const from = view.pointer ?? [width / 2, height / 2];
    const step = event.shiftKey ? 1 : CROSS_STEP;
    const clip = (value, most) => Math.min(most - 1, Math.max(0, value));
    view.pointer = [clip(from[0] + arrow[0] * step, width), clip(from[1] + arrow[1] * step, height)];
    view.cross = true;
    if (view.ruler) {
      view.ruler.to = view.source(view.pointer);
    }
  } else if (arrow) {
    view.camera.move(-arrow[0] * STEP, -arrow[1] * STEP);
  } else if (event.key === " " && stage.tool === "ruler") {
    setEnd(view);
  } else if (event.key === "Delete" || event.key === "Backspace") {
    view.rulers.length = 0;
    view.ruler = null;
  } else if (event.key === "Enter") {
    stage.enlarge(stage.large ? null : view);
  } else if (event.key === "+" || event.key === "=" || event.key === "-") {
    view.camera.zoom(event.key === "-" ? 1 / 1.25 : 1.25, width / 2, height / 2, width, height);
  } else {
    return false;
  }
  stage.invalidate();
  return true;
}

/** Set the first end of a ruler at the cross, then the second. */
function setEnd(view) {
  view.pointer ??= [view.sheet.width / 2, view.sheet.height / 2];
  view.cross = true;
  if (view.ruler) {
    view.stage.speak(view.length(view.ruler));
    view.ruler = null;
    return;
  }
  const at = view.source(view.pointer);
  view.ruler = { from: at, to: at };
  view.rulers.push(view.ruler);
}
