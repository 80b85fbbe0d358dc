// What this browser's WebAssembly knows, asked by showing it modules of a few bytes.

const HEAD = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10];
const ZEROS = [65, 0, 253, 15]; // i32.const 0, i8x16.splat

function accepts(code) {
  const body = [0, ...code, 11];
  return WebAssembly.validate(new Uint8Array([...HEAD, body.length + 2, 1, body.length, ...body]));
}

/** 128-bit vectors. */
export function hasSimd() {
  return accepts([...ZEROS, 253, 98]); // i8x16.popcnt
}

/** Relaxed SIMD, of which the multiply-add is wanted. */
export function hasRelaxedSimd() {
  return accepts([...ZEROS, ...ZEROS, ...ZEROS, 253, 133, 2]); // f32x4.relaxed_madd
}
