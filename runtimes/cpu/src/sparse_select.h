// The few largest of many non-negative numbers, without a sort: a cut is found by counting, then
// what lies above it is written as a list of indices. Of equal numbers the first are taken.

struct Cut {
  float least;  // at least `keep` numbers are this large
  float share;  // least / largest, the first guess for the next row
};

inline float of_bits(int b) { return __builtin_bit_cast(float, b); }
inline int bits_of(float f) { return __builtin_bit_cast(int, f); }

// The largest number such that at least `keep` of x[0..np) reach it, or one below it that no more
// reach. x is padded to np with negative numbers; `known` of it are not negative.
inline Cut find_cut(const float* x, Int np, Int known, Int keep, float share) {
  V m = set1(0.0f);
  for (Int i = 0; i < np; i += W) m = vmax(m, load(x + i));
  const float top = max_lanes(m);
  float lo = 0, hi = of_bits(bits_of(top) + 1);
  Int above_lo = known, above_hi = 0;
  float t = top * share;
  for (int round = 0; above_lo > keep && bits_of(hi) - bits_of(lo) > 1; ++round) {
    // Every third step halves the numbers that are left, so that the search ends on any input.
    if (round % 3 == 2 || !(t > lo && t < hi))
      t = of_bits(bits_of(lo) + (bits_of(hi) - bits_of(lo)) / 2);
    const Int n = count_ge(x, np, t);
    if (n >= keep) {
      lo = t;
      above_lo = n;
    } else {
      hi = t;
      above_hi = n;
    }
    const float part = ((float)(above_lo - keep) + 0.5f) / (float)(above_lo - above_hi);
    t = lo + (hi - lo) * part;
  }
  return {lo, top > 0 ? lo / top : share};
}

// Drops the last of the n entries that equal the cut, until `keep` are left.
inline Int drop_ties(const float* x, float cut, Int keep, int* index, Int n) {
  Int equal = 0, to = 0;
  for (Int i = 0; i < n; ++i) equal += x[index[i]] == cut;
  equal -= n - keep;
  for (Int i = 0; i < n; ++i)
    if (x[index[i]] != cut || equal-- > 0) index[to++] = index[i];
  return to;
}

// Indices of what is at least `cut`, in order, at most `keep`.
inline Int list_indices(const float* x, Int np, float cut, Int keep, int* index) {
  const V least = set1(cut);
  Int n = 0;
  for (Int i = 0; i < np; i += W) n += indices_ge(load(x + i), least, i, index + n);
  return n > keep ? drop_ties(x, cut, keep, index, n) : n;
}

// Keeps the entries that are above `threshold`.
inline Int drop_small(const float* x, float threshold, int* index, Int n) {
  Int to = 0;
  for (Int i = 0; i < n; ++i)
    if (x[index[i]] > threshold) index[to++] = index[i];
  return to;
}

// cut[lane] = the K-th largest of x[0..n)[lane], for W rows at once. Negative numbers are zero.
template <int K>
ATTNC_INLINE void kth_largest(const float* x, Int n, float* cut) {
  V best[K];
  ATTNC_UNROLL
  for (int k = 0; k < K; ++k) best[k] = set1(0.0f);
  for (Int i = 0; i < n; ++i) {
    V v = load(x + i * W);
    ATTNC_UNROLL
    for (int k = 0; k < K; ++k) {
      const V larger = vmax(best[k], v);
      v = vmin(best[k], v);
      best[k] = larger;
    }
  }
  store(cut, best[K - 1]);
}
