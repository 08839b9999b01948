// Window and level: from stored values to greys, as DICOM PS3.3 C.11.2 has it.

/**
 * How all pictures of the case are shown: a window of their own each, moved alike.
 *
 * @typedef {{preset: number, shift: number, factor: number, invert: boolean}} Shown
 *   preset: -1 for the stretch of the breast, else an index into the file's windows; shift: of the centre, in widths.
 */

/** @returns {Shown} */
export const asItComes = () => ({ preset: -1, shift: 0, factor: 1, invert: false });

/**
 * Centre and width, in stored values, of what a picture is shown by.
 *
 * @param {import("./tiles.js").Info} info
 * @param {Shown} shown
 * @returns {{centre: number, width: number, preset: object | null, moved: boolean}}
 */
export function windowOf(info, shown) {
  const preset = shown.preset >= 0 ? (info.presets[shown.preset] ?? null) : null;
  let centre = (info.window.low + info.window.high) / 2;
  let width = info.window.high - info.window.low;
  if (preset?.function === "TABLE") {
    centre = (preset.first + preset.last) / 2;
    width = preset.last - preset.first;
  } else if (preset) {
    ({ centre, width } = preset);
  }
  width = Math.max(width, 1e-6);
  const moved = shown.shift !== 0 || shown.factor !== 1;
  return { centre: centre + shown.shift * width, width: width * shown.factor, preset, moved };
}

/**
 * Table from each stored value to a colour, as ImageData stores it.
 *
 * @param {import("./tiles.js").Info} info
 * @param {Shown} shown
 * @returns {Uint32Array}
 */
export function table(info, shown) {
  const { centre, width, preset } = windowOf(info, shown);
  const grey = greys(info, preset, centre, width);
  const result = new Uint32Array(Math.max(1, info.maximum + 1));
  for (let value = 0; value < result.length; value += 1) {
    const level = Math.round(255 * Math.min(1, Math.max(0, grey(value))));
    const seen = shown.invert ? 255 - level : level;
    result[value] = 0xff000000 | (seen << 16) | (seen << 8) | seen;
  }
  return result;
}

/**
 * @param {import("./tiles.js").Info} info
 * @param {object | null} preset
 * @param {number} centre
 * @param {number} width
 * @returns {(value: number) => number} grey, 0 to 1 after clipping
 */
function greys(info, preset, centre, width) {
  if (!preset) {
    return (value) => Math.max(0, (value - centre) / width + 0.5) ** info.window.gamma;
  }
  if (preset.function === "SIGMOID") {
    return (value) => 1 / (1 + Math.exp((-4 * (value - centre)) / width));
  }
  if (preset.function === "TABLE") {
    const { values } = preset;
    return (value) => {
      const place = Math.min(1, Math.max(0, (value - centre) / width + 0.5)) * (values.length - 1);
      const below = Math.floor(place);
      const next = values[Math.min(below + 1, values.length - 1)];
      return (values[below] + (place - below) * (next - values[below])) / 255;
    };
  }
  return (value) => (value - centre) / width + 0.5;
}

/**
 * A figure without more digits than mean something on a screen.
 *
 * @param {number} value
 * @returns {number}
 */
export const short = (value) => (Math.abs(value) < 100 ? Math.round(10 * value) / 10 : Math.round(value));

/**
 * Level and width in the values that a reader knows.
 *
 * @param {import("./tiles.js").Info} info
 * @param {Shown} shown
 * @returns {{level: number, width: number}}
 */
export function numbers(info, shown) {
  const { centre, width, preset, moved } = windowOf(info, shown);
  if (preset?.shown && !moved) {
    return { level: short(preset.shown.centre), width: short(preset.shown.width) };
  }
  const { slope, intercept } = info.modality ?? { slope: 1, intercept: 0 };
  return { level: short(slope * centre + intercept), width: short(Math.abs(slope) * width) };
}
