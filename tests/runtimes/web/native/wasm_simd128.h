// The intrinsics of WebAssembly that our sources use, in plain C++ with vector extensions: only so
// that the same sources can be built for this machine and watched by a sanitizer.
#pragma once
#include <math.h>
#include <stdint.h>
#include <string.h>

typedef int32_t v128_t __attribute__((vector_size(16), aligned(1), may_alias));
namespace wasm_shim {
typedef float F __attribute__((vector_size(16)));
typedef int32_t I __attribute__((vector_size(16)));
typedef int64_t L __attribute__((vector_size(16)));
template <typename To>
To as(v128_t v) {
  To made;
  memcpy(&made, &v, 16);
  return made;
}
template <typename From>
v128_t of(From v) {
  v128_t made;
  memcpy(&made, &v, 16);
  return made;
}
}  // namespace wasm_shim
#define FF(v) wasm_shim::as<wasm_shim::F>(v)
#define II(v) wasm_shim::as<wasm_shim::I>(v)
#define LL(v) wasm_shim::as<wasm_shim::L>(v)
inline v128_t wasm_v128_load(const void* p) {
  v128_t made;
  memcpy(&made, p, 16);
  return made;
}
inline void wasm_v128_store(void* p, v128_t v) { memcpy(p, &v, 16); }
inline v128_t wasm_f32x4_splat(float x) { return wasm_shim::of(wasm_shim::F{x, x, x, x}); }
inline v128_t wasm_i32x4_splat(int32_t x) { return wasm_shim::of(wasm_shim::I{x, x, x, x}); }
inline v128_t wasm_f32x4_add(v128_t a, v128_t b) { return wasm_shim::of(FF(a) + FF(b)); }
inline v128_t wasm_f32x4_sub(v128_t a, v128_t b) { return wasm_shim::of(FF(a) - FF(b)); }
inline v128_t wasm_f32x4_mul(v128_t a, v128_t b) { return wasm_shim::of(FF(a) * FF(b)); }
inline v128_t wasm_f32x4_div(v128_t a, v128_t b) { return wasm_shim::of(FF(a) / FF(b)); }
inline v128_t wasm_f32x4_ge(v128_t a, v128_t b) { return wasm_shim::of(FF(a) >= FF(b)); }
inline v128_t wasm_i32x4_add(v128_t a, v128_t b) { return wasm_shim::of(II(a) + II(b)); }
inline v128_t wasm_i32x4_sub(v128_t a, v128_t b) { return wasm_shim::of(II(a) - II(b)); }
inline v128_t wasm_i32x4_shl(v128_t a, uint32_t n) {
  wasm_shim::I made = II(a);
  for (int i = 0; i < 4; ++i) made[i] = (int32_t)((uint32_t)made[i] << n);
  return wasm_shim::of(made);
}
inline v128_t wasm_f32x4_pmin(v128_t a, v128_t b) {
  return wasm_shim::of(FF(b) < FF(a) ? FF(b) : FF(a));
}
inline v128_t wasm_f32x4_pmax(v128_t a, v128_t b) {
  return wasm_shim::of(FF(a) < FF(b) ? FF(b) : FF(a));
}
inline v128_t wasm_f32x4_nearest(v128_t a) {
  wasm_shim::F made = FF(a);
  for (int i = 0; i < 4; ++i) made[i] = nearbyintf(made[i]);
  return wasm_shim::of(made);
}
inline v128_t wasm_i32x4_trunc_sat_f32x4(v128_t a) {
  const wasm_shim::F x = FF(a);
  wasm_shim::I made;
  for (int i = 0; i < 4; ++i)
    made[i] = x[i] != x[i] ? 0
              : x[i] >= 2147483648.f ? INT32_MAX
              : x[i] < -2147483648.f ? INT32_MIN
                                     : (int32_t)x[i];
  return wasm_shim::of(made);
}
inline float wasm_lane(v128_t v, int lane) { return FF(v)[lane]; }
#define wasm_f32x4_extract_lane(v, lane) wasm_lane(v, lane)
inline int wasm_i32x4_bitmask(v128_t v) {
  int made = 0;
  for (int i = 0; i < 4; ++i) made |= (II(v)[i] < 0) << i;
  return made;
}
#define wasm_i32x4_shuffle(a, b, i, j, k, l) \
  wasm_shim::of(__builtin_shuffle(II(a), II(b), wasm_shim::I{i, j, k, l}))
#define wasm_i64x2_shuffle(a, b, i, j) \
  wasm_shim::of(__builtin_shuffle(LL(a), LL(b), wasm_shim::L{i, j}))
