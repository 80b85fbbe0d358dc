// Portable vectors of 4 floats (compiler vector extension): SSE2 on x86-64, anything elsewhere.
typedef float V __attribute__((vector_size(16), aligned(4)));
typedef int VI __attribute__((vector_size(16)));
constexpr int W = 4;
constexpr int kMaxPanels = 1;
constexpr int kMaxRows[kMaxPanels] = {3};  // 12 accumulators of 16 SSE registers
inline V load(const float* p) { return *(const V*)p; }
inline void store(float* p, V v) { *(V*)p = v; }
inline V loadn(const float* p, Int n) {
  V v = {0, 0, 0, 0};
  for (Int i = 0; i < n; ++i) v[i] = p[i];
  return v;
}
inline void storen(float* p, V v, Int n) {
  for (Int i = 0; i < n; ++i) p[i] = v[i];
}
inline V set1(float f) { return V{f, f, f, f}; }
inline V add(V a, V b) { return a + b; }
inline V sub(V a, V b) { return a - b; }
inline V mul(V a, V b) { return a * b; }
inline V div(V a, V b) { return a / b; }
inline V fma(V a, V b, V c) { return a * b + c; }
inline V vmin(V bound, V x) { return bound < x ? bound : x; }  // a NaN in x survives
inline V vmax(V bound, V x) { return bound > x ? bound : x; }
inline V nearest(V x) {  // exact for |x| < 2^22, which is all that exp needs
  const V magic = set1(12582912.0f);
  return (x + magic) - magic;
}
inline V scale2(V x, V n) {  // x * 2^n, n integral and within the exponent's range
  return x * (V)((__builtin_convertvector(n, VI) + 127) << 23);
}
inline float sum_lanes(V v) { return (v[0] + v[2]) + (v[1] + v[3]); }
inline float max_lanes(V v) {
  const float a = v[0] > v[2] ? v[0] : v[2], b = v[1] > v[3] ? v[1] : v[3];
  return a > b ? a : b;
}
// Lane i is the sum of the lanes of the vector at p + i * W.
inline V sum_each(const float* p) {
  return V{sum_lanes(load(p)), sum_lanes(load(p + W)), sum_lanes(load(p + 2 * W)),
           sum_lanes(load(p + 3 * W))};
}
