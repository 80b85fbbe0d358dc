// The second half of sparse_attention.h: from the scores of a block of rows to its output.
//
// Keys and values are taken in parts that fit the nearest cache, and all rows of the block meet a
// part before the next one: a row alone would fetch most of what it touches from further away.

constexpr Int kSecondFloats = 64 * 1024 / 4;  // up to here the second cache keeps pace
constexpr Int kMaxKeyParts = 64;
constexpr Int kAbreast = 4;  // searches that hide each other's waiting
constexpr float kNothing = -3e38f;

// Keys of a part; whole vectors, and no more than kMaxKeyParts parts.
inline Int keys_of_part(const SparseTask& t) {
  if (t.np * t.dp <= kSecondFloats) return t.np;
  const Int fit = most(W, kNearFloats / t.dp / W * W);
  return most(fit, ceil_div(ceil_div(t.np, kMaxKeyParts), W) * W);
}

// out[j] (+)= q . k[index[j]] over Vecs vectors; n is rounded up to whole fours.
template <int Vecs>
inline void sparse_dots(const float* q, const float* k, Int ld, const int* index, Int n, float* out,
                        bool further) {
  V qs[Vecs];
  ATTNC_UNROLL
  for (int v = 0; v < Vecs; ++v) qs[v] = load(q + v * W);
  for (Int j = 0; j < n; j += 4) {
    V acc[4];
    const float* row[4];
    ATTNC_UNROLL
    for (int r = 0; r < 4; ++r) {
      row[r] = k + index[j + r] * ld;
      acc[r] = mul(qs[0], load(row[r]));
    }
    ATTNC_UNROLL
    for (int v = 1; v < Vecs; ++v) ATTNC_UNROLL
    for (int r = 0; r < 4; ++r) acc[r] = fma(qs[v], load(row[r] + v * W), acc[r]);
    float sums[4];
    sum4(acc[0], acc[1], acc[2], acc[3], sums);
    for (int r = 0; r < 4; ++r) out[j + r] = further ? out[j + r] + sums[r] : sums[r];
  }
}

// sum += p[j] v[index[j]] over Vecs vectors.
template <int Vecs>
inline void sparse_mix(const float* p, const float* v, Int ld, const int* index, Int n,
                       float* sum) {
  V acc[Vecs];
  ATTNC_UNROLL
  for (int i = 0; i < Vecs; ++i) acc[i] = load(sum + i * W);
  for (Int j = 0; j < n; ++j) {
    const V w = set1(p[j]);
    const float* row = v + index[j] * ld;
    ATTNC_UNROLL
    for (int i = 0; i < Vecs; ++i) acc[i] = fma(w, load(row + i * W), acc[i]);
  }
  ATTNC_UNROLL
  for (int i = 0; i < Vecs; ++i) store(sum + i * W, acc[i]);
}

struct SparseLists {  // the keys of each row of the block, cut where the parts end
  Int end[kSparseRows][kMaxKeyParts];
  Int count[kSparseRows];
  float inverse[kSparseRows];  // of the sums of the softmaxes
};

// Where the parts end in a list that is not cut yet.
inline void cut_list(const int* index, Int n, Int keys, Int parts, Int* end) {
  Int at = 0;
  for (Int p = 0; p < parts; ++p) {
    while (at < n && index[at] < (p + 1) * keys) ++at;
    end[p] = at;
  }
}

// The keys of row `row` of the block: those above the cut, or all of them for the class token, and
// for a row of NaN, which then comes out as NaN.
inline void sparse_keys(const SparseTask& t, const SparseScratch& s, Int b, Int i, Int row,
                        float cut, SparseLists* lists) {
  const AttncSparseAttention& a = *t.a;
  const float* scores = s.scores + row * t.ns;
  int* index = s.index + row * t.ns;
  const Int keys = keys_of_part(t), parts = ceil_div(t.np, keys);
  Int* end = lists->end[row];
  Int n = 0;
  const bool limited = a.score_threshold >= 0, blind = a.prune_rows && alive(a, b, i) == 0;
  if (i > 0 && !blind) {
    const Int keep = least(a.tokens, a.keep);
    for (Int p = 0; p < parts; ++p) {
      n = list_indices(scores, p * keys, least(t.np, (p + 1) * keys), cut, index, n);
      end[p] = n;
    }
    const Int listed = n;
    if (n > keep) n = drop_ties(scores, cut, keep, index, n);
    if (limited) n = drop_small(scores, a.score_threshold, index, n);
    if (n != listed) cut_list(index, n, keys, parts, end);
  }
  if (i == 0 || (n == 0 && !limited && !blind && a.keep > 0)) {
    for (n = 0; n < a.tokens; ++n) index[n] = (int)n;
    cut_list(index, n, keys, parts, end);
  } else if (blind) {
    cut_list(index, 0, keys, parts, end);
  }
  for (Int j = n; j < n + 4; ++j) index[j] = 0;
  lists->count[row] = n;
}

// The cut of each row of the block, kAbreast rows at a time.
inline void sparse_cut_rows(const SparseTask& t, const SparseScratch& s, Int rows, Int known,
                            float* cuts) {
  const Int keep = least(t.a->tokens, t.a->keep);
  float share = 0.5f;
  for (Int i = 0; i < rows; i += kAbreast) {
    const Int n = least(kAbreast, rows - i);
    CutSearch c[kAbreast];
    for (Int j = 0; j < n; ++j)
      c[j] = search_cut(s.scores + (i + j) * t.ns, t.np, known, keep, share);
    for (bool more = true; more;) {
      more = false;
      for (Int j = 0; j < n; ++j)
        if (!c[j].done()) {
          c[j].step();
          more = true;
        }
    }
    for (Int j = 0; j < n; ++j) cuts[i + j] = c[j].lo;
    if (c[0].top > 0) share = c[0].lo / c[0].top;
  }
}

// Scaled queries of the block, [rows][dp], zeros beyond dim.
inline void sparse_queries(const SparseTask& t, const SparseScratch& s, Int head, Int begin,
                           Int rows) {
  const AttncSparseAttention& a = *t.a;
  const Int b = head / a.heads, width = a.heads * a.dim;
  const float* q = a.qkv + (b * a.tokens + begin) * 3 * width + head % a.heads * a.dim;
  for (Int i = 0; i < rows; ++i) {
    const V scale = set1(a.scale * alive(a, b, begin + i));
    for (Int j = 0; j < t.dp; j += W)
      store(s.q + i * t.dp + j, mul(scale, load_some(q + i * 3 * width + j, a.dim - j)));
  }
}

// Attention of all rows of the block over their lists; the logits take the place of the scores.
inline void sparse_attend(const SparseTask& t, const SparseScratch& s, Int head, Int rows,
                          SparseLists& lists) {
  const AttncSparseAttention& a = *t.a;
  const float *k = t.k + head * a.tokens * t.dp, *v = t.v + head * a.tokens * t.dp;
  const Int keys = keys_of_part(t), parts = ceil_div(t.np, keys);
  for (Int p = 0; p < parts; ++p)
    for (Int i = 0; i < rows; ++i) {
      // Whole fours only, the rest goes with the next part.
      const Int from = p ? lists.end[i][p - 1] / 4 * 4 : 0;
      const Int n = (p + 1 < parts ? lists.end[i][p] / 4 * 4 : lists.end[i][p]) - from;
      const Int at = i * t.ns + from;
      for (Int d = 0; d < t.dp; d += t.dp - d >= 64 ? 64 : 16)
        (t.dp - d >= 64 ? sparse_dots<64 / W> : sparse_dots<16 / W>)(
            s.q + i * t.dp + d, k + d, t.dp, s.index + at, n, s.scores + at, d > 0);
    }
  for (Int i = 0; i < rows; ++i) {
    float *row = s.scores + i * t.ns, *sum = s.q + i * t.dp;
    const Int n = lists.count[i], whole = ceil_div(n, W) * W;
    for (Int j = n; j < whole; ++j) row[j] = kNothing;  // adds less than 1e-37, and no tail
    lists.inverse[i] = n > 0 ? 1.0f / softmax_row(row, whole) : 0.0f;
    for (Int j = 0; j < t.dp; j += W) store(sum + j, set1(0.0f));
  }
  for (Int p = 0; p < parts; ++p)
    for (Int i = 0; i < rows; ++i) {
      const Int from = p ? lists.end[i][p - 1] : 0, n = lists.end[i][p] - from;
      const Int at = i * t.ns + from;
      for (Int d = 0; d < t.dp; d += t.dp - d >= 64 ? 64 : 16)
        (t.dp - d >= 64 ? sparse_mix<64 / W> : sparse_mix<16 / W>)(
            s.scores + at, v + d, t.dp, s.index + at, n, s.q + i * t.dp + d);
    }
}

// Coefficients of the block's rows: `chosen` lists those that stay, `counts` how many.
inline void sparse_choose(const SparseTask& t, const SparseScratch& s, Int rows, Int* counts) {
  const AttncSparseAttention& a = *t.a;
  float cut[W];
  const Int keep = least(a.rank, a.coef_topk);
  sparse_coefficients(t, s.logits, rows);
  for (Int i = 0; i < rows; ++i) {
    const float* row = s.logits + i * t.rp;
    int* chosen = s.chosen + i * t.lists;
    if (i % W == 0) sparse_cuts(t, s, row, least(W, rows - i), cut);
    Int n = list_indices(row, 0, t.rp, cut[i % W], chosen, 0);
    if (n > keep) n = drop_ties(row, cut[i % W], keep, chosen, n);
    if (a.coef_threshold >= 0) n = drop_small(row, a.coef_threshold, chosen, n);
    float* weight = s.weight + i * t.lists;
    for (Int j = 0; j < n; ++j) weight[j] = row[chosen[j]];
    for (Int j = n; j < ceil_div(n + 1, kGroup) * kGroup; ++j) chosen[j] = 0, weight[j] = 0;
    counts[i] = n;
  }
}

inline SparseScratch sparse_scratch(const SparseTask& t, float* base) {
  SparseScratch s;
  s.logits = base;
  s.turned = s.logits + kSparseRows * t.rp;
  s.weight = s.turned + t.rp * W;
  s.scores = s.weight + kSparseRows * t.lists;
  s.q = s.scores + kSparseRows * t.ns;
  s.index = (int*)(s.q + kSparseRows * t.dp);
  s.chosen = s.index + kSparseRows * t.ns;
  return s;
}

inline void sparse_rows_task(void* arg, size_t index) {
  SparseTask& t = *(SparseTask*)arg;
  const AttncSparseAttention& a = *t.a;
  const Int head = (Int)index / t.blocks, b = head / a.heads, width = a.heads * a.dim;
  Int begin, end, counts[kSparseRows], known = a.active ? 0 : a.tokens;
  rows_of(a.tokens, t.blocks, (Int)index % t.blocks, &begin, &end);
  const Int rows = end - begin, slot = take_slot(&t.slots);
  const SparseScratch s = sparse_scratch(t, t.slots.base + slot * t.slots.stride);
  const Run q = {a.qkv + (b * a.tokens + begin) * 3 * width + head % a.heads * a.dim, 0, a.dim};
  const float* m = t.m + head * a.dim * t.rp;
  Gemm g = sparse_product(&q, 3 * width, m, t.rp, s.logits, t.rp, rows, t.rp);
  g.bias = t.c + head * t.rp;
  gemm(g, 0, t.rp / 16, no_hint());
  for (Int i = 0; i < rows; ++i)
    if (alive(a, b, begin + i) == 0)
      for (Int j = 0; j < a.rank; ++j) s.logits[i * t.rp + j] = 0;
  for (Int j = 0; a.active && j < a.tokens; ++j) known += alive(a, b, j) > 0;
  sparse_choose(t, s, rows, counts);
  sparse_scores(t, s, b, rows, counts);
  float cuts[kSparseRows];
  sparse_cut_rows(t, s, rows, known, cuts);
  SparseLists lists;
  for (Int i = 0; i < rows; ++i) sparse_keys(t, s, b, begin + i, i, cuts[i], &lists);
  sparse_queries(t, s, head, begin, rows);
  sparse_attend(t, s, head, rows, lists);
  for (Int i = 0; i < rows; ++i) {
    float* y = a.y + (b * a.tokens + begin + i) * width + head % a.heads * a.dim;
    const V inverse = set1(lists.inverse[i]);
    for (Int j = 0; j < a.dim; j += W)
      store_some(y + j, mul(inverse, load(s.q + i * t.dp + j)), a.dim - j);
  }
  return_slot(&t.slots, slot);
}
