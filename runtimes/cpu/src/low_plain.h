// Halves and bytes without any instruction for them.
typedef VI Ints;
struct Wide {
  VI lane[4];  // by position among four elements of K
};
constexpr int kIntVecs = 4, kIntRows = 1;

inline float half_to_float(uint16_t h) {
  // The exponent moves by 112; a subnormal is what is left when its leading one is taken off.
  const uint32_t magnitude = (uint32_t)(h & 0x7fff) << 13, sign = (uint32_t)(h & 0x8000) << 16;
  uint32_t bits = magnitude + (112u << 23);
  float f;
  if ((h & 0x7c00) == 0x7c00) bits += 112u << 23;
  if ((h & 0x7c00) == 0) bits += 1u << 23;
  __builtin_memcpy(&f, &bits, sizeof(f));
  if ((h & 0x7c00) == 0) f -= 6.103515625e-05f;  // 2^-14
  __builtin_memcpy(&bits, &f, sizeof(f));
  bits |= sign;
  __builtin_memcpy(&f, &bits, sizeof(f));
  return f;
}
inline V load_half(const uint16_t* p) {
  return V{half_to_float(p[0]), half_to_float(p[1]), half_to_float(p[2]), half_to_float(p[3])};
}
inline Ints no_ints() { return VI{0, 0, 0, 0}; }
inline Wide load_wide(const int8_t* p) {  // 4 columns, 4 elements of K each
  Wide w;
  for (int i = 0; i < 4; ++i) w.lane[i] = VI{p[i], p[4 + i], p[8 + i], p[12 + i]};
  return w;
}
inline Wide spread_wide(const int8_t* p) {
  Wide w;
  for (int i = 0; i < 4; ++i) w.lane[i] = VI{p[i], p[i], p[i], p[i]};
  return w;
}
inline Ints add_products(Ints acc, const Wide& a, const Wide& b) {
  for (int i = 0; i < 4; ++i) acc += a.lane[i] * b.lane[i];
  return acc;
}
inline void store_sums(const Ints* acc, float* out) {
  for (int v = 0; v < 4; ++v) store(out + v * 4, __builtin_convertvector(acc[v], V));
}
