// The second half of sparse_attention.h: from the scores of a row to its output.

// out[j] (+)= q . k[index[j]] over Vecs vectors; n in whole fours, the list is padded.
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

// y[0..width) = scale * sum of p[j] v[index[j]] over Vecs vectors.
template <int Vecs>
inline void sparse_mix(const float* p, const float* v, Int ld, const int* index, Int n, float scale,
                       float* y, Int width) {
  V acc[Vecs];
  ATTNC_UNROLL
  for (int i = 0; i < Vecs; ++i) acc[i] = set1(0.0f);
  for (Int j = 0; j < n; ++j) {
    const V w = set1(p[j]);
    const float* row = v + index[j] * ld;
    ATTNC_UNROLL
    for (int i = 0; i < Vecs; ++i) acc[i] = fma(w, load(row + i * W), acc[i]);
  }
  ATTNC_UNROLL
  for (int i = 0; i < Vecs; ++i)
    if (width > i * W) storen(y + i * W, mul(acc[i], set1(scale)), least(W, width - i * W));
}

// Attention of one query over the n keys of the list.
inline void sparse_attend(const SparseTask& t, const SparseScratch& s, Int head, Int i, Int n,
                          float* y) {
  const AttncSparseAttention& a = *t.a;
  const Int b = head / a.heads, h = head % a.heads;
  const float *k = t.k + head * a.tokens * t.dp, *v = t.v + head * a.tokens * t.dp;
  const float* q = a.qkv + (b * a.tokens + i) * 3 * a.heads * a.dim + h * a.dim;
  const V scale = set1(a.scale * alive(a, b, i));
  for (Int j = 0; j < t.dp; j += W)
    store(s.q + j, mul(scale, loadn(q + j, most(0, least(W, a.dim - j)))));
  for (Int j = n; j < n + 3; ++j) s.index[j] = 0;
  for (Int d = 0; d < t.dp; d += t.dp - d >= 64 ? 64 : 16)
    (t.dp - d >= 64 ? sparse_dots<64 / W> : sparse_dots<16 / W>)(
        s.q + d, k + d, t.dp, s.index, ceil_div(n, 4) * 4, s.weight, d > 0);
  const float inverse = n > 0 ? 1.0f / softmax_row(s.weight, n) : 0.0f;
  for (Int d = 0; d < t.dp; d += t.dp - d >= 64 ? 64 : 16)
    (t.dp - d >= 64 ? sparse_mix<64 / W> : sparse_mix<16 / W>)(
        s.weight, v + d, t.dp, s.index, n, inverse, y + d, a.dim - d);
}

// The keys of one query: those above the cut, or all of them for the class token, and for a row
// of NaN, which then comes out as NaN.
inline Int sparse_keys(const SparseTask& t, const SparseScratch& s, Int b, Int i, const float* row,
                       Int known, float* share) {
  const AttncSparseAttention& a = *t.a;
  if (i > 0) {
    if (a.prune_rows && alive(a, b, i) == 0) return 0;
    const Int keep = least(a.tokens, a.keep);
    const Cut cut = find_cut(row, t.np, known, keep, *share);
    *share = cut.share;
    const Int n = list_indices(row, t.np, cut.least, keep, s.index);
    const bool limited = a.score_threshold >= 0;
    if (n > 0 || limited || keep == 0)
      return limited ? drop_small(row, a.score_threshold, s.index, n) : n;
  }
  for (Int j = 0; j < a.tokens; ++j) s.index[j] = (int)j;
  return a.tokens;
}

// Coefficients of the block's rows: `chosen` lists those that stay, `counts` how many.
inline void sparse_choose(const SparseTask& t, const SparseScratch& s, Int rows, Int* counts) {
  const AttncSparseAttention& a = *t.a;
  float cut[W];
  sparse_coefficients(t, s.logits, rows);
  for (Int i = 0; i < rows; ++i) {
    const float* row = s.logits + i * t.rp;
    int* chosen = s.chosen + i * t.lists;
    if (i % W == 0) sparse_cuts(t, s, row, cut);
    counts[i] = list_indices(row, t.rp, cut[i % W], least(a.rank, a.coef_topk), chosen);
    if (a.coef_threshold >= 0) counts[i] = drop_small(row, a.coef_threshold, chosen, counts[i]);
  }
}

inline void sparse_rows_task(void* arg, size_t index) {
  SparseTask& t = *(SparseTask*)arg;
  const AttncSparseAttention& a = *t.a;
  const Int head = (Int)index / t.blocks, b = head / a.heads, width = a.heads * a.dim;
  Int begin, end, counts[kSparseRows], known = 0;
  rows_of(a.tokens, t.blocks, (Int)index % t.blocks, &begin, &end);
  const Int rows = end - begin, slot = take_slot(&t.slots);
  float* base = t.slots.base + slot * t.slots.stride;
  SparseScratch s;
  s.logits = base;
  s.turned = s.logits + kSparseRows * t.rp;
  s.scores = s.turned + t.rp * W;
  s.weight = s.scores + kSparseRows * t.np;
  s.q = s.weight + t.np + 64;
  s.index = (int*)(s.q + t.dp);
  s.chosen = s.index + t.np + 64;
  const Run q = {a.qkv + (b * a.tokens + begin) * 3 * width + head % a.heads * a.dim, 0, a.dim};
  const float* m = t.m + head * a.dim * t.rp;
  Gemm g = sparse_product(&q, 3 * width, m, t.rp, s.logits, t.rp, rows, t.rp);
  g.bias = t.c + head * t.rp;
  gemm(g, 0, t.rp / 16, no_hint());
  for (Int i = 0; i < rows; ++i)
    if (alive(a, b, begin + i) == 0)
      for (Int j = 0; j < a.rank; ++j) s.logits[i * t.rp + j] = 0;
  for (Int j = 0; j < a.tokens; ++j) known += alive(a, b, j) > 0;
  sparse_choose(t, s, rows, counts);
  sparse_scores(t, s, b, rows, counts);
  float share = 0.5f;
  for (Int i = 0; i < rows; ++i) {
    const Int n = sparse_keys(t, s, b, begin + i, s.scores + i * t.np, known, &share);
    sparse_attend(t, s, head, begin + i, n,
                  a.y + (b * a.tokens + begin + i) * width + head % a.heads * a.dim);
  }
  return_slot(&t.slots, slot);
}
