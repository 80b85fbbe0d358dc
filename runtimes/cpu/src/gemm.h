// The one matrix product of the library: C = clamp(A*B + bias [+ residual]), B in 16-column panels.
//
// A row is the concatenation of `runs` contiguous stretches (a dense convolution has one for each
// kernel row, a plain product has one), so that nothing is ever copied into im2col form. B may be
// packed weights or any row-major matrix: panel and k strides are explicit.

#define ATTNC_INLINE inline __attribute__((always_inline))
#define ATTNC_UNROLL _Pragma("GCC unroll 32")

inline Int ceil_div(Int a, Int b) { return (a + b - 1) / b; }
inline Int least(Int a, Int b) { return a < b ? a : b; }
inline Int most(Int a, Int b) { return a > b ? a : b; }

constexpr int kVecs = 16 / W;  // vectors of a panel

// A tile takes its panels in kSplit parts: one, but where a processor has few and short registers.
#if !defined(ATTNC_SPLIT)
#define ATTNC_SPLIT 1
#endif
constexpr int kSplit = ATTNC_SPLIT;

// Rows of A that are addressed from one pointer: three on processors that add an index for nothing.
#if !defined(ATTNC_ROWS_A_POINTER)
#define ATTNC_ROWS_A_POINTER 3
#endif
constexpr int kRowsAPointer = ATTNC_ROWS_A_POINTER;

// Keeps the loads of one step of k from moving into another, where the compiler does not know how
// many registers there will be (WebAssembly) and would keep them all.
#if defined(__wasm__)
#define ATTNC_STEP_END __asm__ volatile("" ::: "memory")
#else
#define ATTNC_STEP_END
#endif

struct Run {
  const float* a;  // first element of row 0
  Int b;           // offset into a panel of B of the row that meets it
  Int length;
};

struct Gemm {
  const Run* runs;
  Int nruns, lda;
  const float* b;
  Int b_panel, b_k;
  const float* bias;      // padded to whole panels, or null
  const float* residual;  // or null
  Int ldr;
  float* c;
  Int ldc, m, n;
  float lo, hi;
  bool pairs = false;   // short runs, rows of A two floats apart: the stem (see stem_tile)
  Int store_ahead = 0;  // rows ahead of which the lines of C are asked for (short K only)
  bool gelu = false;    // applied last, to a few panels at a time
};

// Memory that will be read soon. It is fetched into the level-2 cache a few lines at a time between
// the steps of a product: the weights of a model do not stay in cache from one run to the next.
struct Ahead {
  const char* at[3];
  Int lines[3];
  int count;

  void add(const float* p, Int floats) {
    if (!p || floats <= 0 || count == 3) return;
    at[count] = (const char*)p;
    lines[count++] = ceil_div(floats, 16);
  }
};

struct Prefetch {  // `lines` cache lines at every fourth k
  const char* at;
  Int lines;
};

// Writes R finished rows. Every loop over accumulators is unrolled: an index that is not a constant
// would put the accumulators into memory, and the inner loop would store them at every step.
template <int R, int N>
ATTNC_INLINE void store_rows(const Gemm& g, const V (&acc)[R][N], Int i, Int j) {
  const V lo = set1(g.lo), hi = set1(g.hi);
  float* c = g.c + i * g.ldc + j;
  const float* r = g.residual ? g.residual + i * g.ldr + j : nullptr;
  ATTNC_UNROLL
  for (int v = 0; v < N; ++v) {
    const Int left = g.n - j - v * W;
    if (left >= W) {
      ATTNC_UNROLL
      for (int row = 0; row < R; ++row) {
        const V x = r ? add(acc[row][v], load(r + row * g.ldr + v * W)) : acc[row][v];
        store(c + row * g.ldc + v * W, vmin(hi, vmax(lo, x)));
      }
    } else if (left > 0) {
      ATTNC_UNROLL
      for (int row = 0; row < R; ++row) {
        const V x = r ? add(acc[row][v], loadn(r + row * g.ldr + v * W, left)) : acc[row][v];
        storen(c + row * g.ldc + v * W, vmin(hi, vmax(lo, x)), left);
      }
    }
  }
}

// One step of k: a column of R values of A against a row of P panels, or of a part of one.
template <int R, int P>
ATTNC_INLINE void rank1(V (&acc)[R][P * kVecs / kSplit], const float* const* a, Int lda, Int k,
                        const float* b, Int b_panel) {
  V row[P * kVecs / kSplit];
  ATTNC_UNROLL
  for (int p = 0; p < P; ++p) ATTNC_UNROLL
  for (int v = 0; v < kVecs / kSplit; ++v) row[p * kVecs + v] = load(b + p * b_panel + (size_t)(v * W));
  ATTNC_UNROLL
  for (int r = 0; r < R; ++r) {
    const V x = set1((a[r / kRowsAPointer] + (r % kRowsAPointer) * lda)[(size_t)k]);
    ATTNC_UNROLL
    for (int v = 0; v < P * kVecs / kSplit; ++v) acc[r][v] = fma(x, row[v], acc[r][v]);
  }
  ATTNC_STEP_END;
}

// Accumulators begin as the bias. A write that misses waits for memory: ask for its lines now.
template <int R, int N>
ATTNC_INLINE void begin_rows(const Gemm& g, V (&acc)[R][N], Int i, Int j) {
  ATTNC_UNROLL
  for (int v = 0; v < N; ++v) {
    const V x = g.bias ? load(g.bias + j + v * W) : set1(0.0f);
    ATTNC_UNROLL
    for (int r = 0; r < R; ++r) acc[r][v] = x;
  }
  if (g.store_ahead)
    for (int r = 0; r < R; ++r)
      for (int v = 0; v < N / kVecs; ++v)
        __builtin_prefetch(g.c + (i + r + g.store_ahead) * g.ldc + j + v * 16, 1, 3);
}

// R rows by P panels, or by one part of a panel, all of K; the accumulators stay in registers.
template <int R, int P>
ATTNC_INLINE void tile_part(const Gemm& g, Int i, Int panel, int part, Prefetch pf) {
  V acc[R][P * kVecs / kSplit];
  const Int column = part * (16 / kSplit);
  begin_rows(g, acc, i, panel * 16 + column);
  const Int lda = g.lda, b_k = g.b_k, b_panel = g.b_panel;
  for (Int s = 0; s < g.nruns; ++s) {
    const Run& run = g.runs[s];
    const float* a[(R + kRowsAPointer - 1) / kRowsAPointer];
    for (int r = 0; r < R; r += kRowsAPointer) a[r / kRowsAPointer] = run.a + (i + r) * lda;
    const float* b = g.b + panel * b_panel + run.b + column;
    Int k = 0;
    for (; k + 4 <= run.length; k += 4) {
      _Pragma("GCC unroll 1") for (Int line = 0; line < pf.lines; ++line, pf.at += 64)
          __builtin_prefetch(pf.at, 0, 2);
      for (int u = 0; u < 4; ++u, b += b_k) rank1<R, P>(acc, a, lda, u, b, b_panel);
      for (int r = 0; r < R; r += kRowsAPointer) a[r / kRowsAPointer] += 4;
    }
    _Pragma("GCC unroll 1") for (; k < run.length; ++k, b += b_k) {
      rank1<R, P>(acc, a, lda, 0, b, b_panel);
      for (int r = 0; r < R; r += kRowsAPointer) ++a[r / kRowsAPointer];
    }
  }
  store_rows(g, acc, i, panel * 16 + column);
}

template <int R, int P>
void tile(const Gemm& g, Int i, Int panel, Prefetch pf) {
  for (int part = 0; part < kSplit; ++part) tile_part<R, P>(g, i, panel, part, pf);
}

// The same for a convolution of stride two over planes: its runs are as short as the window is
// wide, so every row is addressed from one pointer and only `lines` of each run are fetched ahead.
template <int R, int P>
void stem_tile(const Gemm& g, Int i, Int panel, Prefetch pf) {
  V acc[R][P * kVecs];
  begin_rows(g, acc, i, panel * 16);
  for (Int s = 0; s < g.nruns; ++s) {
    const Run& run = g.runs[s];
    const float* a = run.a + 2 * i;
    const float* b = g.b + panel * g.b_panel + run.b;
    _Pragma("GCC unroll 1") for (Int line = 0; line < pf.lines; ++line, pf.at += 64)
        __builtin_prefetch(pf.at, 0, 2);
    _Pragma("GCC unroll 1") for (Int k = 0; k < run.length; ++k, ++a, b += g.b_k) {
      V row[P * kVecs];
      ATTNC_UNROLL
      for (int v = 0; v < P * kVecs; ++v) row[v] = load(b + v / kVecs * g.b_panel + v % kVecs * W);
      ATTNC_UNROLL
      for (int r = 0; r < R; ++r) {
        const V x = set1(a[2 * r]);
        ATTNC_UNROLL
        for (int v = 0; v < P * kVecs; ++v) acc[r][v] = fma(x, row[v], acc[r][v]);
      }
    }
  }
  store_rows(g, acc, i, panel * 16);
}

typedef void (*Tile)(const Gemm&, Int, Int, Prefetch);

// Stem tiles exist for the most rows and for powers of two; the fewer, the smaller the library.
template <int P, int R>
constexpr bool kIsStemHeight = R == kMaxRows[P - 1] || (R & (R - 1)) == 0;

template <int P, int R>
inline Tile pick_tile(Int rows, bool pairs) {
  if constexpr (R > 1) {
    if (rows != R) return pick_tile<P, R - 1>(rows, pairs);
  }
  if constexpr (kIsStemHeight<P, R>) {
    if (pairs) return stem_tile<R, P>;
  }
  return tile<R, P>;
}

// Rows of the next stem tile where `left` are left.
inline Int stem_rows(Int left, Int max) {
  Int rows = max;
  if (left < max)
    for (rows = 1; 2 * rows <= left;) rows *= 2;
  return rows;
}

template <int P>
inline Tile pick_panels(Int panels, Int rows, bool pairs) {
  if constexpr (P > 1) {
    if (panels != P) return pick_panels<P - 1>(panels, rows, pairs);
  }
  return pick_tile<P, kMaxRows[P - 1]>(rows, pairs);
}

inline Int panels_of(Int n) { return ceil_div(n, 16); }

// Panels taken together from `left` ones: as many as fit, but never leaving a single one over.
inline Int group_size(Int left) {
  if (left > kMaxPanels) return left == kMaxPanels + 1 ? (left + 1) / 2 : kMaxPanels;
  return left;
}

// More than this at a step competes with the stream that is being read (few rows, large weights).
constexpr Int kPrefetchLines = 4;

// All rows against one group of panels; rows are cut evenly, so that no thin tile is left over
// (but for the stem, whose products are short either way).
// Of `ahead`, this call fetches one of `shares` equal parts and moves its beginning on.
inline void gemm_group(const Gemm& g, Int panel, Int panels, Ahead* ahead, Int shares) {
  const Int highest = kMaxRows[panels - 1], tiles = ceil_div(g.m, highest);
  Int steps = 0, lines = 0;
  for (Int s = 0; s < g.nruns; ++s) steps += g.pairs ? 1 : g.runs[s].length / 4;
  for (int r = 0; r < ahead->count; ++r) lines += ahead->lines[r];
  const Int each = steps > 0 ? least(kPrefetchLines, ceil_div(lines, tiles * shares * steps)) : 0;
  for (Int t = 0, i = 0, r = 0; i < g.m; ++t) {
    const Int left = g.m - i, rows = g.pairs ? stem_rows(left, highest) : left / (tiles - t);
    while (r < ahead->count && ahead->lines[r] <= 0) ++r;
    Prefetch pf = {nullptr, 0};
    if (r < ahead->count && steps > 0) {
      pf = {ahead->at[r], least(each, ceil_div(ahead->lines[r], steps))};
      ahead->at[r] += pf.lines * steps * 64;
      ahead->lines[r] -= pf.lines * steps;
    }
    pick_panels<kMaxPanels>(panels, rows, g.pairs)(g, i, panel, pf);
    i += rows;
  }
  for (Int p = panel; g.gelu && p < panel + panels; ++p)
    gelu_panel(g.c + p * 16, g.ldc, g.m, least(16, g.n - p * 16));
}

// Where one tile of a single panel holds all rows and wider tiles do not, that is taken: the
// weights are then read once, in one stream at an even pace, which is what memory does best.
inline bool one_panel_at_a_time(const Gemm& g) {
  return g.b_k == 16 && g.m <= kMaxRows[0] && g.m > kMaxRows[kMaxPanels - 1];
}

// Panels [first, last) of the product; `after` is what is wanted when they are done.
inline void gemm(const Gemm& g, Int first, Int last, const Ahead& after) {
  const bool narrow = one_panel_at_a_time(g);
  const bool deep = g.nruns > 1 || g.runs[0].length * 16 == g.b_panel;  // all of K
  for (Int p = first; p < last;) {
    const Int n = narrow ? 1 : group_size(last - p), q = p + n;
    Ahead ahead = after;
    if (q < last) {
      ahead.count = 0;
      const Int wanted = narrow ? 1 : group_size(last - q);
      if (g.b_k == 16 && deep) ahead.add(g.b + q * g.b_panel, wanted * g.b_panel);
      for (Int v = q; g.b_k == 16 && !deep && v < q + wanted; ++v)
        ahead.add(g.b + v * g.b_panel + g.runs[0].b, g.runs[0].length * 16);
    }
    gemm_group(g, p, n, &ahead, 1);
    p = q;
  }
}

// Panels are handed to tasks in an even number of chunks of two or three (two threads, equal work).
inline Int chunk_count(Int panels) {
  const Int n = ceil_div(panels, 3);
  return panels >= 4 ? (n + 1) / 2 * 2 : n;
}

inline Int chunk_begin(Int panels, Int chunk) {
  const Int n = chunk_count(panels), each = panels / n, larger = panels % n;
  return chunk * each + least(chunk, larger);
}
