// Halves by conversion, and bytes by long multiplication: what every AArch64 processor has.
typedef int32x4_t Ints;
typedef int8x16_t Wide;
constexpr int kIntVecs = 4, kIntRows = 4;
inline V load_half(const uint16_t* p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }
inline Ints no_ints() { return vdupq_n_s32(0); }
inline Wide load_wide(const int8_t* p) { return vld1q_s8(p); }  // 4 columns, 4 elements of K each
inline Wide spread_wide(const int8_t* p) {
  int32_t four;
  __builtin_memcpy(&four, p, sizeof(four));
  return vreinterpretq_s8_s32(vdupq_n_s32(four));
}
// A sum of two products, at most 2 * 127 * 127, fits 16 bits.
inline Ints add_products(Ints acc, Wide a, Wide b) {
  const int16x8_t low = vmull_s8(vget_low_s8(a), vget_low_s8(b)), high = vmull_high_s8(a, b);
  return vpadalq_s16(acc, vpaddq_s16(low, high));
}
inline void store_sums(const Ints* acc, float* out) {
  for (int v = 0; v < 4; ++v) store(out + v * 4, vcvtq_f32_s32(acc[v]));
}
