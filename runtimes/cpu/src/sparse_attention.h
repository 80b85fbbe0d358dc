// Sparsifiner: predict for each query which keys matter, then touch only those (see compiler/ops).
//
// The query projection, the scale and the projected keys fold into one matrix per head, so that the
// coefficients of a row are one product q M + c. Rows then go through all stages in blocks that
// stay in cache: coefficients, the few kept, scores from their basis rows, the keys above the cut,
// their logits, softmax, and the weighted sum of their values. The N x N matrix is never there.

constexpr Int kSparseRows = 32;    // of one task
constexpr Int kNearFloats = 40 * 1024 / 4;  // of a part: little more than the nearest cache holds
constexpr Int kGroup = 8;                   // rows of the basis that are summed together
constexpr Int kUsualCoefficients = 8;

struct SparseTask {
  const AttncSparseAttention* a;
  Int dp, rp, np, ns;  // dim and rank in whole panels, keys in whole vectors, row stride of scores
  Int blocks;          // of rows
  Int parts, part;     // of the basis, and the columns of one
  Int lists;           // numbers that a list of coefficients takes
  float *proj, *basis;  // transposed [rank][tokens]; [parts][rank][part]
  float *wk, *wq;       // transposed [dim][narrow, padded]; [narrow][dp]
  float *k, *v, *m, *c;  // per head [tokens][dp] twice, [dim][rp], [rp]
  Slots slots;
};

struct SparseScratch {
  float *logits, *turned, *weight, *scores, *q;
  int *index, *chosen;
};

// Up to W floats, zeros behind them (masked moves cost many times a plain one).
inline V load_some(const float* p, Int n) {
  return n >= W ? load(p) : n > 0 ? loadn(p, n) : set1(0.0f);
}

inline void store_some(float* p, V v, Int n) {
  if (n >= W)
    store(p, v);
  else
    storen(p, v, n);
}

inline float alive(const AttncSparseAttention& a, Int b, Int i) {
  return a.active ? a.active[b * a.tokens + i] : 1.0f;
}

inline Int narrow_padded(const AttncSparseAttention& a) { return round16(a.narrow); }

// Constants in the order in which they are read, once per call.
inline void sparse_pack(const SparseTask& t) {
  const AttncSparseAttention& a = *t.a;
  for (Int i = 0; i < a.rank; ++i)
    for (Int j = 0; j < a.tokens; ++j) t.proj[i * a.tokens + j] = a.proj[j * a.rank + i];
  for (Int p = 0; p < t.parts; ++p)
    for (Int i = 0; i < a.rank; ++i) {
      float* to = t.basis + (p * a.rank + i) * t.part;
      const float* from = a.basis + i * a.tokens + p * t.part;
      const Int n = least(t.part, a.tokens - p * t.part);
      for (Int j = 0; j < t.part; ++j) to[j] = j < n ? from[j] : 0;
    }
  const Int cp = narrow_padded(a);
  for (Int i = 0; i < a.dim * cp; ++i)
    t.wk[i] = i % cp < a.narrow ? a.wk[i % cp * a.dim + i / cp] : 0;
  for (Int i = 0; i < a.narrow * t.dp; ++i)
    t.wq[i] = i % t.dp < a.dim ? a.wq[i / t.dp * a.dim + i % t.dp] : 0;
}

inline Gemm sparse_product(const Run* run, Int lda, const float* b, Int b_k, float* c, Int ldc,
                           Int m, Int n) {
  const float inf = __builtin_inff();
  return {run, 1, lda, b, 16, b_k, nullptr, nullptr, 0, c, ldc, m, n, -inf, inf};
}

// Copies keys and values of one head, zeros for inactive tokens.
inline void sparse_gather(const SparseTask& t, Int b, Int h, float* k, float* v) {
  const AttncSparseAttention& a = *t.a;
  const Int width = a.heads * a.dim;
  for (Int i = 0; i < a.tokens; ++i) {
    const float* from = a.qkv + (b * a.tokens + i) * 3 * width + width + h * a.dim;
    const V on = set1(alive(a, b, i));
    for (Int j = 0; j < t.dp; j += W) {
      store(k + i * t.dp + j, mul(on, load_some(from + j, a.dim - j)));
      store(v + i * t.dp + j, mul(on, load_some(from + width + j, a.dim - j)));
    }
  }
}

// Sum over the active tokens of column i of P.
inline float column_sum(const SparseTask& t, Int b, Int i) {
  const Int n = t.a->tokens;
  const float *p = t.proj + i * n, *active = t.a->active ? t.a->active + b * n : nullptr;
  V sum = set1(0.0f);
  for (Int j = 0; j < n; j += W) {
    const V x = load_some(p + j, n - j);
    sum = active ? fma(x, load_some(active + j, n - j), sum) : add(sum, x);
  }
  return sum_lanes(sum);
}

// M [dim][rp] and c [rp] of one head: with G = P^T k, K' = G Wk^T + (column sums of P) bk,
// M^T = scale K' Wq and c = scale K' bq. `scratch` holds G, K' and M^T.
inline void sparse_fold(const SparseTask& t, Int b, const float* k, float* m, float* c,
                        float* scratch) {
  const AttncSparseAttention& a = *t.a;
  const Int cp = narrow_padded(a);
  float *g = scratch, *low = g + a.rank * t.dp, *turned = low + a.rank * cp;
  const Run keys = {t.proj, 0, a.tokens}, rows = {g, 0, a.dim}, lows = {low, 0, a.narrow};
  gemm(sparse_product(&keys, a.tokens, k, t.dp, g, t.dp, a.rank, t.dp), 0, t.dp / 16, no_hint());
  gemm(sparse_product(&rows, t.dp, t.wk, cp, low, cp, a.rank, cp), 0, cp / 16, no_hint());
  for (Int i = 0; i < a.rank; ++i) {
    const float sum = column_sum(t, b, i);
    float constant = 0;
    for (Int j = 0; j < a.narrow; ++j) {
      low[i * cp + j] += sum * a.bk[j];
      constant += low[i * cp + j] * a.bq[j];
    }
    c[i] = a.coef_scale * constant;
  }
  gemm(sparse_product(&lows, cp, t.wq, t.dp, turned, t.dp, a.rank, t.dp), 0, t.dp / 16, no_hint());
  for (Int j = 0; j < a.dim; ++j)
    for (Int i = 0; i < t.rp; ++i)
      m[j * t.rp + i] = i < a.rank ? a.coef_scale * turned[i * t.dp + j] : 0;
  for (Int i = a.rank; i < t.rp; ++i) c[i] = 0;
}

inline void sparse_head_task(void* arg, size_t index) {
  SparseTask& t = *(SparseTask*)arg;
  const AttncSparseAttention& a = *t.a;
  const Int head = (Int)index, slot = take_slot(&t.slots);
  float *k = t.k + head * a.tokens * t.dp, *v = t.v + head * a.tokens * t.dp;
  sparse_gather(t, head / a.heads, head % a.heads, k, v);
  sparse_fold(t, head / a.heads, k, t.m + head * a.dim * t.rp, t.c + head * t.rp,
              t.slots.base + slot * t.slots.stride);
  return_slot(&t.slots, slot);
}

// Softmax of each row of logits, in place; beyond the rank -1, which is never chosen.
inline void sparse_coefficients(const SparseTask& t, float* logits, Int rows) {
  const AttncSparseAttention& a = *t.a;
  for (Int i = 0; i < rows; ++i) {
    float* row = logits + i * t.rp;
    const V scale = set1(1.0f / softmax_row(row, a.rank));
    for (Int j = 0; j < a.rank; j += W) store(row + j, mul(load(row + j), scale));
    for (Int j = a.rank; j < t.rp; ++j) row[j] = -1;
  }
}

// The cuts of `count` rows of coefficients, at most W.
inline void sparse_cuts(const SparseTask& t, const SparseScratch& s, const float* rows,
                        Int count, float* cut) {
  const AttncSparseAttention& a = *t.a;
  if (a.coef_topk != kUsualCoefficients || a.rank <= kUsualCoefficients) {
    for (Int i = 0; i < count; ++i)
      cut[i] = find_cut(rows + i * t.rp, t.rp, a.rank, least(a.rank, a.coef_topk));
    return;
  }
  for (Int j = 0; j < a.rank; j += W) transpose_square(rows + j, t.rp, s.turned + j * W);
  kth_largest<kUsualCoefficients>(s.turned, a.rank, cut);
}

// out[0..n) (+)= the weighted sum of kGroup rows of the basis.
inline void sparse_sum(const float* basis, Int ld, const int* chosen, const float* weight, Int n,
                       float* out, bool further) {
  V w[kGroup];
  const float* row[kGroup];
  ATTNC_UNROLL
  for (int j = 0; j < kGroup; ++j) {
    w[j] = set1(weight[j]);
    row[j] = basis + chosen[j] * ld;
  }
  for (Int i = 0; i < n; i += W) {
    V sum = further ? load(out + i) : set1(0.0f);
    ATTNC_UNROLL
    for (int j = 0; j < kGroup; ++j) sum = fma(w[j], load(row[j] + i), sum);
    store(out + i, sum);
  }
}

// Scores of all rows of the block: sums of the chosen rows of the basis. Inactive keys get -1.
inline void sparse_scores(const SparseTask& t, const SparseScratch& s, Int b, Int rows,
                          const Int* counts) {
  const AttncSparseAttention& a = *t.a;
  for (Int p = 0; p < t.parts; ++p)
    for (Int i = 0; i < rows; ++i)
      for (Int j = 0; j < most(1, counts[i]); j += kGroup)
        sparse_sum(t.basis + p * a.rank * t.part, t.part, s.chosen + i * t.lists + j,
                   s.weight + i * t.lists + j, least(t.part, t.np - p * t.part),
                   s.scores + i * t.ns + p * t.part, j > 0);
  for (Int i = 0; i < rows; ++i) {
    float* row = s.scores + i * t.ns;
    for (Int j = a.tokens; j < t.np; ++j) row[j] = -1;
    if (a.active)
      for (Int j = 0; j < a.tokens; ++j) row[j] = alive(a, b, j) > 0 ? row[j] : -1;
  }
}

#include "sparse_rows.h"

AttncStatus sparse_attention_f32(const AttncHost* host, const AttncSparseAttention* a) {
  if (a->batch * a->tokens * a->heads == 0) return kAttncOk;
  SparseTask t = {};
  t.a = a;
  t.dp = round16(a->dim);
  t.rp = round16(a->rank);
  t.np = ceil_div(a->tokens, W) * W;
  t.ns = t.np + 16;
  t.parts = ceil_div(t.np, most(8 * W, kNearFloats / a->rank / W * W));
  t.part = ceil_div(ceil_div(t.np, t.parts), W) * W;
  t.blocks = ceil_div(a->tokens, kSparseRows);
  t.lists = round16(a->rank + most(W, kGroup));
  const Int heads = a->batch * a->heads, cp = round16(a->narrow);
  const Int keys = round16(heads * a->tokens * t.dp), m = heads * round16(a->dim * t.rp);
  const Int fold = a->rank * (2 * t.dp + cp);
  const Int block = kSparseRows * (t.rp + 2 * t.ns + 2 * t.lists + t.dp) + t.rp * W;
  t.slots.count = least(heads * t.blocks, kMaxSlots);
  t.slots.stride = round16(most(fold, block));
  const Int sizes[] = {round16(a->rank * a->tokens), round16(t.parts * a->rank * t.part),
                       round16(a->dim * cp), round16(a->narrow * t.dp), keys, keys, m,
                       heads * t.rp};
  Int total = t.slots.stride * t.slots.count;
  for (Int size : sizes) total += size;
  float* at = alloc_floats(host, total);
  if (!at) return kAttncNoMemory;
  float** const places[] = {&t.proj, &t.basis, &t.wk, &t.wq, &t.k, &t.v, &t.m, &t.c};
  t.slots.base = at;
  float* next = at + t.slots.stride * t.slots.count;
  for (int i = 0; i < 8; next += sizes[i++]) *places[i] = next;
  sparse_pack(t);
  host->parallel_for(host->user, (size_t)heads, sparse_head_task, &t);
  host->parallel_for(host->user, (size_t)(heads * t.blocks), sparse_rows_task, &t);
  host->free(host->user, at);
  return kAttncOk;
}
