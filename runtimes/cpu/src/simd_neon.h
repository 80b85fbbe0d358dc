// NEON vectors of 4 floats (AArch64). Included inside the namespace of the instruction set.
typedef float32x4_t V;
constexpr int W = 4;
constexpr int kMaxPanels = 1;
constexpr int kMaxRows[kMaxPanels] = {6};  // 24 accumulators + 4 panel registers + scalars
inline V load(const float* p) { return vld1q_f32(p); }
inline void store(float* p, V v) { vst1q_f32(p, v); }
inline V loadn(const float* p, Int n) {
  float t[W] = {0, 0, 0, 0};
  for (Int i = 0; i < n; ++i) t[i] = p[i];
  return vld1q_f32(t);
}
inline void storen(float* p, V v, Int n) {
  float t[W];
  vst1q_f32(t, v);
  for (Int i = 0; i < n; ++i) p[i] = t[i];
}
inline V set1(float f) { return vdupq_n_f32(f); }
inline V add(V a, V b) { return vaddq_f32(a, b); }
inline V sub(V a, V b) { return vsubq_f32(a, b); }
inline V mul(V a, V b) { return vmulq_f32(a, b); }
inline V div(V a, V b) { return vdivq_f32(a, b); }
inline V fma(V a, V b, V c) { return vfmaq_f32(c, a, b); }  // a broadcast a becomes fmla by lane
inline V vmin(V bound, V x) { return vminq_f32(bound, x); }
inline V vmax(V bound, V x) { return vmaxq_f32(bound, x); }
inline V nearest(V x) { return vrndnq_f32(x); }
inline V scale2(V x, V n) {  // x * 2^n, n integral and within the exponent's range
  const int32x4_t e = vaddq_s32(vcvtnq_s32_f32(n), vdupq_n_s32(127));
  return vmulq_f32(x, vreinterpretq_f32_s32(vshlq_n_s32(e, 23)));
}
inline float sum_lanes(V v) { return vaddvq_f32(v); }
inline float max_lanes(V v) { return vmaxvq_f32(v); }
// Lane i is the sum of the lanes of the vector at p + i * W.
inline V sum_each(const float* p) {
  return vpaddq_f32(vpaddq_f32(load(p), load(p + W)), vpaddq_f32(load(p + 2 * W), load(p + 3 * W)));
}
// How many of x[0..n) are at least low, and how many at least high; n a multiple of W.
inline void count_two(const float* x, Int n, float low, float high, Int* at_low, Int* at_high) {
  const V l = set1(low), h = set1(high);
  uint32x4_t a = vdupq_n_u32(0), b = a;
  for (Int i = 0; i < n; i += W) {
    const V v = load(x + i);
    a = vsubq_u32(a, vcgeq_f32(v, l));
    b = vsubq_u32(b, vcgeq_f32(v, h));
  }
  *at_low = (Int)vaddvq_u32(a);
  *at_high = (Int)vaddvq_u32(b);
}
// Writes base + i for each lane i of x that is at least t; room for W indices is needed.
inline Int indices_ge(V x, V t, Int base, int* out) {
  uint32_t set[W];
  vst1q_u32(set, vcgeq_f32(x, t));
  Int n = 0;
  for (int i = 0; i < W; ++i) {
    out[n] = (int)base + i;
    n += set[i] & 1;
  }
  return n;
}
// The sums of the lanes of four vectors.
inline void sum4(V a, V b, V c, V d, float* out) {
  store(out, vpaddq_f32(vpaddq_f32(a, b), vpaddq_f32(c, d)));
}
// W rows of src, ld apart, become the columns of dst [W][W].
inline void transpose_square(const float* src, Int ld, float* dst) {
  for (int i = 0; i < W; ++i)
    for (int j = 0; j < W; ++j) dst[j * W + i] = src[i * ld + j];
}
// dst[c*16 + r] = src[r*ld + c] for a square of 4x4 (dst lies in a panel of 16 columns).
constexpr Int kSquare = 4;
inline void turn_square(const float* src, Int ld, float* dst) {
  float32x4x4_t t = {
      {vld1q_f32(src), vld1q_f32(src + ld), vld1q_f32(src + 2 * ld), vld1q_f32(src + 3 * ld)}};
  float rows[16];
  vst4q_f32(rows, t);  // interleaves: rows[4*c + r]
  for (int c = 0; c < 4; ++c) vst1q_f32(dst + c * 16, vld1q_f32(rows + 4 * c));
}
