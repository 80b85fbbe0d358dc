// Multi-head attention on packed channels, a block of query rows of one head at a time.
// Keys are turned into panels and values copied into panels once per head, because in the packed
// value their rows lie a power-of-two-like stride apart and would evict each other; the scores of
// a block stay in the level-1 or level-2 cache and no others ever exist.

constexpr Int kMhaRows = 24;  // whole tiles on every instruction set
constexpr Int kMhaFew = 4;    // up to this many rows, packing would cost more than it saves

// [n][d] (row stride ld) to panels of 16 rows as columns, [ceil(n/16)][d][16], zeros at the end.
inline void pack_turned(const float* src, Int ld, Int n, Int d, float* dst) {
  for (Int p = 0; p < n; p += 16, dst += 16 * d) {
    const Int rows = least(16, n - p), whole = rows / kSquare * kSquare, deep = d / kSquare * kSquare;
    const float* from = src + p * ld;
    for (Int i = 0; i < whole; i += kSquare)
      for (Int k = 0; k < deep; k += kSquare) turn_square(from + i * ld + k, ld, dst + k * 16 + i);
    for (Int i = 0; i < whole; ++i)
      for (Int k = deep; k < d; ++k) dst[k * 16 + i] = from[i * ld + k];
    for (Int i = whole; i < rows; ++i)
      for (Int k = 0; k < d; ++k) dst[k * 16 + i] = from[i * ld + k];
    for (Int k = 0; rows < 16 && k < d; ++k)
      for (Int i = rows; i < 16; ++i) dst[k * 16 + i] = 0.0f;
  }
}

// [n][d] (row stride ld) to panels of 16 columns, [ceil(d/16)][n][16], zeros at the end.
inline void pack_straight(const float* src, Int ld, Int n, Int d, float* dst) {
  for (Int p = 0; p < d; p += 16, dst += 16 * n)
    for (Int i = 0; i < n; ++i)
      for (Int v = 0; v < 16; v += W) {
        const Int left = d - p - v;
        const float* from = src + i * ld + p + v;
        store(dst + i * 16 + v,
              left >= W ? load(from) : left > 0 ? loadn(from, left) : set1(0.0f));
      }
}

// What all rows of head h of image b share.
struct MhaHead {
  const float *q, *k, *v;
  float* y;
};

inline MhaHead mha_head(const AttncMha& a, Int b, Int h, Int rows) {
  const float* memory = a.memory + b * a.n * a.ldm;
  return {a.query + b * a.m * a.ldq + a.q_at + h * a.dim_qk, memory + a.k_at + h * a.dim_qk,
          memory + a.v_at + h * a.dim_v, a.y + b * rows * a.heads * a.dim_v + h * a.dim_v};
}

// Rows of y of one image.
inline Int mha_rows(const AttncMha& a) { return a.index ? 1 + a.kept + a.fuse : a.m; }

// The softmax runs in base two: this factor goes into the queries.
inline float mha_factor(const AttncMha& a) { return a.scale * 1.44269504f; }

// out[j] = query . key_j for all keys, then the softmax numerators in place; returns their sum.
inline float mha_scores(const float* q, float factor, const float* k, Int ld, Int n, Int d,
                        float* out) {
  const Int whole = d / W * W;
  for (Int j = 0; j < n; ++j, k += ld) {
    V s = set1(0.0f);
    for (Int c = 0; c < whole; c += W) s = fma(load(q + c), load(k + c), s);
    if (whole < d) s = fma(loadn(q + whole, d - whole), loadn(k + whole, d - whole), s);
    out[j] = sum_lanes(s) * factor;
  }
  return softmax2_row(out, n);
}

// y[0..d) = scale * sum_j p[j] * v_j
inline void mha_mix(const float* p, float scale, const float* v, Int ld, Int n, Int d, float* y) {
  for (Int c = 0; c < d; c += 4 * W) {
    V s[4];
    for (int u = 0; u < 4; ++u) s[u] = set1(0.0f);
    const Int left = d - c;
    for (Int j = 0; j < n; ++j) {
      const V x = set1(p[j]);
      const float* from = v + j * ld + c;
      if (left >= 4 * W) {
        for (int u = 0; u < 4; ++u) s[u] = fma(x, load(from + u * W), s[u]);
      } else {
        for (int u = 0; u * W < left; ++u)
          s[u] = fma(x, loadn(from + u * W, least(W, left - u * W)), s[u]);
      }
    }
    for (int u = 0; u < 4 && u * W < left; ++u)
      storen(y + c + u * W, mul(s[u], set1(scale)), least(W, left - u * W));
  }
}

// Row `i` of the output attends with this row of the query.
inline Int mha_source(const AttncMha& a, Int b, Int i) {
  return a.index && i ? 1 + (Int)a.index[b * a.kept + i - 1] : i;
}

// Queries of `rows` rows, scaled, into q; `row(i)` tells which.
template <typename Row>
ATTNC_INLINE void mha_queries(const AttncMha& a, const float* from, Int rows, Row row, float* q) {
  const V factor = set1(mha_factor(a));
  for (Int i = 0; i < rows; ++i) {
    const float* x = from + row(i) * a.ldq;
    for (Int c = 0; c < a.dim_qk; c += W) {
      const Int n = least(W, a.dim_qk - c);
      storen(q + i * a.dim_qk + c, mul(n == W ? load(x + c) : loadn(x + c, n), factor), n);
    }
  }
}

// Scratch of one task: keys and values in panels, a block of queries and of scores.
struct MhaScratch {
  float *keys, *values, *q, *scores, *mean;
};

inline MhaScratch mha_scratch(const AttncMha& a, float* base) {
  MhaScratch s;
  s.keys = base;
  s.values = s.keys + round16(a.n) * a.dim_qk;
  s.q = s.values + round16(a.dim_v) * a.n;
  s.scores = s.q + round16(kMhaRows * a.dim_qk);
  s.mean = s.scores + kMhaRows * round16(a.n);
  return s;
}

inline Int mha_scratch_floats(const AttncMha& a) {
  return round16(a.n) * (a.dim_qk + kMhaRows + 1) + round16(a.dim_v) * a.n +
         round16(kMhaRows * a.dim_qk);
}

// Softmax numerators of `rows` rows whose queries lie in s.q; their sums.
inline void mha_block_scores(const AttncMha& a, const MhaScratch& s, Int rows, float* sums) {
  const float inf = __builtin_inff();
  const Int np = round16(a.n);
  const Run q = {s.q, 0, a.dim_qk};
  const Gemm qk = {&q, 1,        a.dim_qk, s.keys, a.dim_qk * 16, 16,  nullptr, nullptr,
                   0,  s.scores, np,       rows,   a.n,           -inf, inf};
  gemm(qk, 0, panels_of(a.n), no_hint());
  for (Int i = 0; i < rows; ++i) sums[i] = softmax2_row(s.scores + i * np, a.n);
}

// Rows [begin, end) of the output.
inline void mha_block(const AttncMha& a, const MhaHead& head, const MhaScratch& s, Int b, Int begin,
                      Int end) {
  const float inf = __builtin_inff();
  const Int rows = end - begin, np = round16(a.n), ld = a.heads * a.dim_v;
  mha_queries(a, head.q, rows, [&](Int i) { return mha_source(a, b, begin + i); }, s.q);
  float sums[kMhaRows];
  mha_block_scores(a, s, rows, sums);
  const Run p = {s.scores, 0, a.n};
  float* y = head.y + begin * ld;
  const Gemm pv = {&p, 1, np, s.values, a.n * 16, 16,  nullptr, nullptr,
                   0,  y, ld, rows,     a.dim_v,  -inf, inf};
  gemm(pv, 0, panels_of(a.dim_v), no_hint());
  for (Int i = 0; i < rows; ++i) {
    const V inverse = set1(1.0f / sums[i]);
    for (Int c = 0; c < a.dim_v; c += W) {
      const Int n = least(W, a.dim_v - c);
      float* out = y + i * ld + c;
      storen(out, mul(n == W ? load(out) : loadn(out, n), inverse), n);
    }
  }
}

// The fused row: sum over j of weights[j] * (row 1 + j of the attention). The probabilities are
// summed first, so that the product with the values is one row.
inline void mha_fused(const AttncMha& a, const MhaHead& head, const MhaScratch& s, Int b) {
  const float* weights = a.weights + b * (a.m - 1);
  const Int np = round16(a.n);
  for (Int j = 0; j < np; ++j) s.mean[j] = 0.0f;
  for (Int next = 0; next < a.m - 1;) {
    Int taken[kMhaRows], rows = 0;
    for (; next < a.m - 1 && rows < kMhaRows; ++next)
      if (weights[next] != 0.0f) taken[rows++] = next;
    if (!rows) break;
    mha_queries(a, head.q, rows, [&](Int i) { return 1 + taken[i]; }, s.q);
    float sums[kMhaRows];
    mha_block_scores(a, s, rows, sums);
    for (Int i = 0; i < rows; ++i) {
      const V share = set1(weights[taken[i]] / sums[i]);
      const float* p = s.scores + i * np;
      for (Int j = 0; j < a.n; j += W) {
        const Int n = least(W, a.n - j);
        store(s.mean + j, fma(share, n == W ? load(p + j) : loadn(p + j, n), load(s.mean + j)));
      }
    }
  }
  float* y = head.y + (1 + a.kept) * a.heads * a.dim_v;
  mha_mix(s.mean, 1.0f, head.v, a.ldm, a.n, a.dim_v, y);
}

struct MhaTask {
  const AttncMha* a;
  Int parts;  // tasks of a head
  Slots slots;
};

inline void mha_task(void* arg, size_t index) {
  MhaTask& t = *(MhaTask*)arg;
  const AttncMha& a = *t.a;
  const Int part = (Int)index % t.parts, h = (Int)index / t.parts % a.heads;
  const Int b = (Int)index / t.parts / a.heads, all = mha_rows(a);
  const MhaHead head = mha_head(a, b, h, all);
  const Int slot = take_slot(&t.slots);
  const MhaScratch s = mha_scratch(a, t.slots.base + slot * t.slots.stride);
  const Int blocks = t.parts - a.fuse, rows = all - a.fuse;
  if (rows <= kMhaFew && part < blocks) {
    for (Int i = 0; i < rows; ++i) {
      const float* q = head.q + mha_source(a, b, i) * a.ldq;
      const float sum = mha_scores(q, mha_factor(a), head.k, a.ldm, a.n, a.dim_qk, s.scores);
      float* y = head.y + i * a.heads * a.dim_v;
      mha_mix(s.scores, 1.0f / sum, head.v, a.ldm, a.n, a.dim_v, y);
    }
  } else {
    pack_turned(head.k, a.ldm, a.n, a.dim_qk, s.keys);
    if (part == blocks) {
      mha_fused(a, head, s, b);
    } else {
      pack_straight(head.v, a.ldm, a.n, a.dim_v, s.values);
      Int first, last;
      rows_of(rows, blocks, part, &first, &last);
      const Int count = ceil_div(last - first, kMhaRows);
      for (Int i = 0; i < count; ++i) {
        Int begin, end;
        rows_of(last - first, count, i, &begin, &end);
        mha_block(a, head, s, b, first + begin, first + end);
      }
    }
  }
  return_slot(&t.slots, slot);
}

// A row outside the image would be read from elsewhere.
inline bool mha_rows_exist(const AttncMha& a) {
  for (Int i = 0; i < a.batch * a.kept; ++i)
    if (a.index[i] < 0 || a.index[i] >= a.m - 1) return false;
  return true;
}

AttncStatus mha_f32(const AttncHost* host, const AttncMha* a) {
  const Int rows = mha_rows(*a), heads = a->batch * a->heads;
  if (heads * rows == 0) return kAttncOk;
  if (a->index && !mha_rows_exist(*a)) return kAttncBadIndex;
  MhaTask t = {a, 1, {}};
  if (heads < 4 && rows > 2 * kMhaRows) t.parts = 4;
  else if (heads % 2 && rows > 2 * kMhaRows) t.parts = 2;
  t.parts += a->fuse;
  t.slots.count = least(heads * t.parts, kMaxSlots);
  t.slots.stride = round16(mha_scratch_floats(*a));
  t.slots.base = alloc_floats(host, t.slots.stride * t.slots.count);
  if (!t.slots.base) return kAttncNoMemory;
  host->parallel_for(host->user, (size_t)(heads * t.parts), mha_task, &t);
  host->free(host->user, t.slots.base);
  return kAttncOk;
}
