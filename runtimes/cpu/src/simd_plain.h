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
// How many of x[0..n) are at least low, and how many at least high; n a multiple of W.
inline void count_two(const float* x, Int n, float low, float high, Int* at_low, Int* at_high) {
  const V l = set1(low), h = set1(high);
  VI a = {0, 0, 0, 0}, b = a;
  for (Int i = 0; i < n; i += W) {
    const V v = load(x + i);
    a -= v >= l;
    b -= v >= h;
  }
  *at_low = a[0] + a[1] + a[2] + a[3];
  *at_high = b[0] + b[1] + b[2] + b[3];
}
// Writes base + i for each lane i of x that is at least t; room for W indices is needed.
inline Int indices_ge(V x, V t, Int base, int* out) {
  const VI set = x >= t;
  Int n = 0;
  for (int i = 0; i < W; ++i) {
    out[n] = (int)base + i;
    n += set[i] & 1;
  }
  return n;
}
// The sums of the lanes of four vectors.
inline void sum4(V a, V b, V c, V d, float* out) {
  out[0] = sum_lanes(a);
  out[1] = sum_lanes(b);
  out[2] = sum_lanes(c);
  out[3] = sum_lanes(d);
}
// W rows of src, ld apart, become the columns of dst [W][W].
inline void transpose_square(const float* src, Int ld, float* dst) {
  for (int i = 0; i < W; ++i)
    for (int j = 0; j < W; ++j) dst[j * W + i] = src[i * ld + j];
}
// dst[c*16 + r] = src[r*ld + c] for a square of 4x4 (dst lies in a panel of 16 columns).
constexpr Int kSquare = 4;
inline void turn_square(const float* src, Int ld, float* dst) {
  for (int r = 0; r < 4; ++r)
    for (int c = 0; c < 4; ++c) dst[c * 16 + r] = src[r * ld + c];
}
