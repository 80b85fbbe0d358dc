// exp, logistic function and small reductions; one polynomial for all instruction sets.

// e^x, relative error below 2e-7 for x in [-87, 88]; smaller x give about 1e-38, larger saturate.
inline V exp_v(V x) {
  x = vmin(set1(88.0f), vmax(set1(-87.0f), x));
  const V n = nearest(mul(x, set1(1.44269504f)));
  V r = fma(n, set1(-0.693359375f), x);
  r = fma(n, set1(2.12194440e-4f), r);
  V p = set1(1.0f / 5040);
  p = fma(p, r, set1(1.0f / 720));
  p = fma(p, r, set1(1.0f / 120));
  p = fma(p, r, set1(1.0f / 24));
  p = fma(p, r, set1(1.0f / 6));
  p = fma(p, r, set1(0.5f));
  p = fma(p, r, set1(1.0f));
  p = fma(p, r, set1(1.0f));
  return scale2(p, n);
}

inline V sigmoid_v(V x) {
  const V one = set1(1.0f);
  return div(one, add(one, exp_v(sub(set1(0.0f), x))));
}

// 2^x for x <= 0, relative error below 2e-7; x below -126 give about 1e-38.
inline V exp2_below_v(V x) {
  x = vmax(set1(-126.0f), x);
  const V n = nearest(x), r = sub(x, n);
  V p = set1(1.3264727247e-3f);
  p = fma(p, r, set1(9.6715126881e-3f));
  p = fma(p, r, set1(5.5507337436e-2f));
  p = fma(p, r, set1(0.24022242085f));
  p = fma(p, r, set1(0.69314697760f));
  p = fma(p, r, set1(1.0f));
  return scale2(p, n);
}

// In-place softmax numerator of a row; returns the sum. The row's tail up to a vector is written.
template <V (*Exp)(V)>
inline float softmax_with(float* row, Int n) {
  const Int whole = n / W * W, tail = n - whole;
  V m = set1(row[0]);
  for (Int i = 0; i < whole; i += W) m = vmax(m, load(row + i));
  float top = max_lanes(m);
  for (Int i = whole; i < n; ++i) top = row[i] > top ? row[i] : top;
  const V t = set1(top);
  V total = set1(0.0f);
  for (Int i = 0; i < whole; i += W) {
    const V e = Exp(sub(load(row + i), t));
    store(row + i, e);
    total = add(total, e);
  }
  float sum = sum_lanes(total);
  if (tail) {
    storen(row + whole, Exp(sub(loadn(row + whole, tail), t)), tail);
    for (Int i = whole; i < n; ++i) sum += row[i];
  }
  return sum;
}

inline float softmax_row(float* row, Int n) { return softmax_with<exp_v>(row, n); }

// In base two: the caller has multiplied the scores by log2(e).
inline float softmax2_row(float* row, Int n) { return softmax_with<exp2_below_v>(row, n); }

// dst[0..n) = mean over `rows` rows of src (row stride ld)
inline void mean_rows(float* dst, const float* src, Int rows, Int ld, Int n) {
  const V scale = set1(1.0f / (float)rows);
  for (Int j = 0; j < n; j += W) {
    const Int k = least(W, n - j);
    V s0 = set1(0.0f), s1 = s0;
    for (Int i = 0; i < rows; ++i) {
      const V x = k == W ? load(src + i * ld + j) : loadn(src + i * ld + j, k);
      if (i & 1)
        s1 = add(s1, x);
      else
        s0 = add(s0, x);
    }
    const V mean = mul(add(s0, s1), scale);
    if (k == W)
      store(dst + j, mean);
    else
      storen(dst + j, mean, k);
  }
}
