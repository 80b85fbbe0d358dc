// Pictures scaled as the model was evaluated with: weights, rounding and the order of the passes are
// Pillow's. What canvases do gives other pixels, and others in every browser.

const BITS = 22;
const SUPPORT = { nearest: 0.5, bilinear: 1, bicubic: 2, lanczos: 3 };

const sinc = (x) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));

function cubic(x) {
  return x < 1 ? (1.5 * x - 2.5) * x * x + 1 : ((-0.5 * x + 2.5) * x - 4) * x + 2;
}

function weight(filter, distance) {
  const x = Math.abs(distance);
  if (x >= SUPPORT[filter]) return 0;
  if (filter === "bilinear") return 1 - x;
  return filter === "bicubic" ? cubic(x) : sinc(x) * sinc(x / 3);
}

// The samples that make one sample of the result: fixed-point weights of those from `first`.
function tapsAround(filter, centre, widening, source) {
  const reach = SUPPORT[filter] * widening;
  const first = Math.max(0, Math.trunc(centre - reach + 0.5));
  const end = Math.min(source, Math.trunc(centre + reach + 0.5));
  const values = [];
  for (let i = first; i < end; ++i) values.push(weight(filter, (i - centre + 0.5) / widening));
  const total = values.reduce((sum, value) => sum + value, 0);
  const weights = values.map((value) => {
    const fixed = (value / total) * 2 ** BITS;
    return Math.trunc(fixed < 0 ? fixed - 0.5 : fixed + 0.5);
  });
  return { first, weights };
}

// Places are added up one by one, whose rounding decides between two samples as near.
function nearestTaps(source, target, begin, end) {
  const scale = source / target;
  const made = [];
  for (let i = 0, place = scale / 2; i < end; ++i, place += scale) {
    if (i >= begin)
      made.push({ first: Math.min(Math.trunc(place), source - 1), weights: [2 ** BITS] });
  }
  return made;
}

function taps(filter, source, target, begin, end) {
  if (source === target) filter = "nearest";
  if (filter === "nearest") return nearestTaps(source, target, begin, end);
  const scale = source / target;
  const made = [];
  for (let i = begin; i < end; ++i)
    made.push(tapsAround(filter, (i + 0.5) * scale, Math.max(scale, 1), source));
  return made;
}

const HALF = 2 ** (BITS - 1);

// The weighted sum of bytes `step` apart; sums stay below 2^53, so doubles are exact.
function sum(bytes, start, step, { weights }) {
  let total = HALF;
  for (let i = 0, at = start; i < weights.length; ++i, at += step) total += weights[i] * bytes[at];
  const value = Math.floor(total / 2 ** BITS);
  return value < 0 ? 0 : value > 255 ? 255 : value;
}

/**
 * A window of a picture that is scaled to `scaled` pixels.
 *
 * @param {{width: number, height: number, bytes: Uint8Array}} picture RGB, row by row
 * @param {{width: number, height: number}} scaled size of the whole picture after scaling
 * @param {{left: number, top: number, width: number, height: number}} cut what is kept of that
 * @param {"nearest"|"bilinear"|"bicubic"|"lanczos"} filter
 * @returns {{width: number, height: number, bytes: Uint8Array}}
 */
export function resample(picture, scaled, cut, filter) {
  const across = taps(filter, picture.width, scaled.width, cut.left, cut.left + cut.width);
  const down = taps(filter, picture.height, scaled.height, cut.top, cut.top + cut.height);
  const first = Math.min(...down.map((tap) => tap.first));
  const end = Math.max(...down.map((tap) => tap.first + tap.weights.length));
  const line = cut.width * 3;
  const lines = new Uint8Array((end - first) * line);
  for (let row = first; row < end; ++row)
    for (let column = 0; column < cut.width; ++column) {
      const from = (row * picture.width + across[column].first) * 3;
      const to = (row - first) * line + column * 3;
      for (let c = 0; c < 3; ++c) lines[to + c] = sum(picture.bytes, from + c, 3, across[column]);
    }
  const bytes = new Uint8Array(cut.height * line);
  for (let row = 0; row < cut.height; ++row) {
    const from = (down[row].first - first) * line;
    for (let at = 0; at < line; ++at) bytes[row * line + at] = sum(lines, from + at, line, down[row]);
  }
  return { width: cut.width, height: cut.height, bytes };
}
