// How a picture becomes what the model takes: scaled to cover, the middle cut out, normalised.

import { AttncError } from "./errors.js";
import { resample } from "./resample.js";

const MINIMUM_SIDE = 8;
const LONGEST_SIDE = 32768;

// To the nearest integer, halves to the even one, as Python rounds.
function round(x) {
  const low = Math.floor(x);
  const rest = x - low;
  if (rest !== 0.5) return rest < 0.5 ? low : low + 1;
  return low % 2 === 0 ? low : low + 1;
}

function coveringSize(picture, width, height, fraction) {
  const wanted = [width, height].map((size) => Math.max(size, Math.floor(size / fraction + 0.5)));
  const scale = Math.max(wanted[0] / picture.width, wanted[1] / picture.height);
  return {
    width: Math.max(wanted[0], round(picture.width * scale)),
    height: Math.max(wanted[1], round(picture.height * scale)),
  };
}

/**
 * The part of the picture that the model sees, in its size.
 *
 * @param {{width: number, height: number, bytes: Uint8Array}} picture
 * @param {object} rule `preprocessing` of the bundle's plan
 * @throws {AttncError} "too-small", "too-narrow"
 */
export function fit(picture, rule) {
  const size = `${picture.width} x ${picture.height}`;
  if (Math.min(picture.width, picture.height) < MINIMUM_SIDE)
    throw new AttncError("too-small", `The picture has ${size} pixels, too few to show anything.`);
  const [height, width] = rule.image_size;
  const scaled = coveringSize(picture, width, height, rule.crop_fraction);
  if (Math.max(scaled.width, scaled.height) > LONGEST_SIDE)
    throw new AttncError(
      "too-narrow",
      `The picture (${size}) is too long and narrow. Cut out the part that matters.`
    );
  const left = round((scaled.width - width) / 2);
  const top = round((scaled.height - height) / 2);
  return resample(picture, scaled, { left, top, width, height }, rule.interpolation);
}

/** RGB bytes to float32 [1, 3, height, width], normalised. */
export function normalise({ width, height, bytes }, rule) {
  const plane = width * height;
  const made = new Float32Array(3 * plane);
  for (let c = 0; c < 3; ++c)
    for (let i = 0; i < plane; ++i)
      made[c * plane + i] = (bytes[3 * i + c] / 255 - rule.mean[c]) / rule.std[c];
  return made;
}
