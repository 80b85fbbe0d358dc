// The few largest of many non-negative numbers, without a sort: a cut is found by counting, then
// what lies above it is written as a list of indices. Of equal numbers the first are taken.

inline float of_bits(int b) { return __builtin_bit_cast(float, b); }
inline int bits_of(float f) { return __builtin_bit_cast(int, f); }
inline float most_float(float a, float b) { return a > b ? a : b; }
inline float least_float(float a, float b) { return a < b ? a : b; }

struct Probe {  // two guesses, one on each side of the cut
  float low, high;
};

// Guesses in the thirds of the numbers between lo and hi: their bit patterns are in order, so the
// search ends on any input.
inline Probe thirds(float lo, float hi) {
  const int a = bits_of(lo), part = (bits_of(hi) - a) / 3;
  return {of_bits(a + (part > 0 ? part : 1)), of_bits(a + (part > 0 ? 2 * part : 1))};
}

// The search for a row's cut, in steps, so that several rows can go on side by side: a step waits
// for its counts.
struct CutSearch {
  const float* x;
  Int np, keep;
  float lo, hi;            // the cut lies in [lo, hi):
  Int above_lo, above_hi;  // so many numbers reach lo, and hi
  Probe probe;
  float top;  // the largest
  int round;

  bool done() const { return above_lo <= keep || bits_of(hi) - bits_of(lo) <= 1; }

  // As bit patterns, which are ordered even where a number is NaN.
  void take(float at, Int count) {
    if (count >= keep && bits_of(at) >= bits_of(lo)) lo = at, above_lo = count;
    if (count < keep && bits_of(at) < bits_of(hi)) hi = at, above_hi = count;
  }

  void step() {
    Probe p = probe;
    if (round++ % 4 == 3 || !(p.low > lo && p.high > p.low && p.high < hi)) p = thirds(lo, hi);
    Int at_low, at_high;
    count_two(x, np, p.low, p.high, &at_low, &at_high);
    take(p.low, at_low);
    take(p.high, at_high);
    // From how dense the numbers are between the two: around the place where `keep` should be
    // reached, further apart the further that is from the two.
    const float gap = (p.high - p.low) / (float)most(1, at_low - at_high);
    const float t = p.low + gap * ((float)(at_low - keep) + 0.5f);
    const float reach = 0.6f * gap + 0.3f * most_float(0.0f, most_float(t - p.high, p.low - t));
    probe = {most_float(t - reach, 0.5f * (lo + t)), least_float(t + reach, 0.5f * (hi + t))};
  }
};

// Begins the search for the largest number such that at least `keep` of x[0..np) reach it, or one
// below it that no more reach. x is padded to np with negative numbers, `known` are not negative;
// `share` of the largest is the first guess.
inline CutSearch search_cut(const float* x, Int np, Int known, Int keep, float share) {
  V m = set1(0.0f);
  for (Int i = 0; i < np; i += W) m = vmax(m, load(x + i));
  const float top = max_lanes(m);
  const Probe p = {top * share * 0.97f, top * share * 1.03f};
  return {x, np, keep, 0, of_bits(bits_of(top) + 1), known, 0, p, top, 0};
}

inline float find_cut(const float* x, Int np, Int known, Int keep) {
  CutSearch c = search_cut(x, np, known, keep, 0.5f);
  while (!c.done()) c.step();
  return c.lo;
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

// Appends the indices in [from, to) of what is at least `cut` to a list of n; its new length.
inline Int list_indices(const float* x, Int from, Int to, float cut, int* index, Int n) {
  const V least = set1(cut);
  for (Int i = from; i < to; i += W) n += indices_ge(load(x + i), least, i, index + n);
  return n;
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
