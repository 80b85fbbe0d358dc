// LayerNorm without scale and shift: the products that follow have both in their weights.

struct NormSums {
  float first, second;
};

// Sums of x - mean and of its square.
inline NormSums centred_sums(const float* x, Int n, float mean) {
  const Int whole = n / W * W;
  const V m = set1(mean);
  V s0 = set1(0.0f), s1 = s0, q0 = s0, q1 = s0;
  Int i = 0;
  for (; i + 2 * W <= whole; i += 2 * W) {
    const V c0 = sub(load(x + i), m), c1 = sub(load(x + i + W), m);
    s0 = add(s0, c0);
    s1 = add(s1, c1);
    q0 = fma(c0, c0, q0);
    q1 = fma(c1, c1, q1);
  }
  for (; i < whole; i += W) {
    const V c0 = sub(load(x + i), m);
    s0 = add(s0, c0);
    q0 = fma(c0, c0, q0);
  }
  NormSums sums = {sum_lanes(add(s0, s1)), sum_lanes(add(q0, q1))};
  for (; i < n; ++i) {
    const float c = x[i] - mean;
    sums.first += c;
    sums.second += c * c;
  }
  return sums;
}

// y = (x - mean) / sqrt(variance + epsilon). The mean's own rounding is taken out again, which is
// all that is left of a row of equal values.
inline void norm_row(const float* x, float* y, Int n, float epsilon) {
  const Int whole = n / W * W;
  const float mean = centred_sums(x, n, 0.0f).first / (float)n;
  const NormSums sums = centred_sums(x, n, mean);
  const float rest = sums.first / (float)n, square = sums.second / (float)n - rest * rest;
  const float scale = 1.0f / __builtin_sqrtf((square < 0.0f ? 0.0f : square) + epsilon);
  const V m = set1(mean), s = set1(scale), t = set1(-rest * scale);
  Int i = 0;
  for (; i < whole; i += W) store(y + i, fma(sub(load(x + i), m), s, t));
  for (; i < n; ++i) y[i] = (x[i] - mean) * scale - rest * scale;
}

inline void norm_rows(const float* x, float* y, Int rows, Int n, float epsilon) {
  for (Int i = 0; i < rows; ++i) norm_row(x + i * n, y + i * n, n, epsilon);
}
