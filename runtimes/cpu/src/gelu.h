// The exact GELU, x * Phi(x), by one polynomial and no branch.

constexpr float kGelu[] = {1.0905083618f,      1.0875201110e-1f, 4.8870367947e-2f,
                           9.3158732782e-3f,   1.1255413768e-3f, 8.7541772209e-5f,
                           1.1807229247e-4f,   -2.0377513822e-5f, 3.3541777326e-6f};

// Of U vectors, step by step: one alone would wait for each of its own steps.
// max(x, 0) - a / P(a)^8 with a = |x|: a * Phi(-a) is a bump below 0.17 that dies out by itself, so
// that large x need no care. Absolute error below 2e-7, most of it the rounding of the powers.
template <int U>
inline __attribute__((always_inline)) void gelu_v(V (&x)[U]) {
  const V zero = set1(0.0f);
  V a[U], p[U];
  _Pragma("GCC unroll 8") for (int u = 0; u < U; ++u) {
    a[u] = vmin(set1(64.0f), vmax(sub(zero, x[u]), x[u]));  // an infinity would be inf / inf
    p[u] = set1(kGelu[8]);
  }
  _Pragma("GCC unroll 8") for (int k = 7; k >= 0; --k) {
    _Pragma("GCC unroll 8") for (int u = 0; u < U; ++u) p[u] = fma(p[u], a[u], set1(kGelu[k]));
  }
  _Pragma("GCC unroll 8") for (int k = 0; k < 3; ++k) {
    _Pragma("GCC unroll 8") for (int u = 0; u < U; ++u) p[u] = mul(p[u], p[u]);
  }
  _Pragma("GCC unroll 8") for (int u = 0; u < U; ++u)
      x[u] = sub(vmax(zero, x[u]), div(a[u], p[u]));
}

// In place on rows of up to 16 columns.
inline void gelu_panel(float* c, Int ld, Int rows, Int columns) {
  constexpr int kAcross = 16 / W, kDown = kAcross < 6 ? 6 / kAcross : 1;
  Int i = 0;
  for (; columns == 16 && i + kDown <= rows; i += kDown, c += kDown * ld) {
    V x[kDown * kAcross];
    for (int r = 0; r < kDown * kAcross; ++r) x[r] = load(c + r / kAcross * ld + r % kAcross * W);
    gelu_v(x);
    for (int r = 0; r < kDown * kAcross; ++r) store(c + r / kAcross * ld + r % kAcross * W, x[r]);
  }
  for (; i < rows; ++i, c += ld) {
    for (Int j = 0; j < columns; j += W) {
      const Int n = columns - j < W ? columns - j : W;
      V x[1] = {loadn(c + j, n)};
      gelu_v(x);
      storen(c + j, x[0], n);
    }
  }
}
