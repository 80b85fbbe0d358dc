// Single-head attention on the first channels, the rest passed through, projection and residual.
// Keys are written transposed and values left where the qkv product put them, so that both
// products of the attention run on the same micro-kernel without repacking.

constexpr Int kAttnRowsMax = 64;  // rows of scores that one task holds

struct AttnTask {
  const AttncAttention* a;
  Int width, ld, tp,
      blocks;         // qkv columns, their row stride, padded tokens, row blocks of an image
  float *qkv, *keys;  // [batch][tokens][ld], [batch][dim_qk][tp]
  float* cat;         // [batch][tokens][c] where the projection is a phase of its own
  Slots slots;
};

// Mean and 1/std over all tokens and the first dim_v channels of image b.
inline void attn_statistics(const AttncAttention& a, const float* x, float* mean, float* scale) {
  double total = 0, squares = 0;
  const double count = (double)a.tokens * (double)a.dim_v;
  for (Int i = 0; i < a.tokens; ++i) {
    V s = set1(0.0f);
    for (Int j = 0; j < a.dim_v; j += W) s = add(s, loadn(x + i * a.c + j, least(W, a.dim_v - j)));
    total += sum_lanes(s);
  }
  *mean = (float)(total / count);
  const V m = set1(*mean);
  for (Int i = 0; i < a.tokens; ++i) {
    V s = set1(0.0f);
    for (Int j = 0; j < a.dim_v; j += W) {
      const Int n = least(W, a.dim_v - j);
      V d = sub(loadn(x + i * a.c + j, n), m);
      if (n < W) {  // the lanes beyond the row hold -mean
        float t[W];
        store(t, d);
        d = loadn(t, n);
      }
      s = fma(d, d, s);
    }
    squares += sum_lanes(s);
  }
  *scale = 1.0f / __builtin_sqrtf((float)(squares / count) + a.epsilon);
}

// Normalisation, q, k and v of tokens [begin, end) of image b; `norm` is scratch.
inline void attn_qkv(const AttnTask& t, Int b, Int begin, Int end, float* norm) {
  const AttncAttention& a = *t.a;
  const float* x = a.x + b * a.tokens * a.c;
  float mean, scale;
  attn_statistics(a, x, &mean, &scale);
  const V s = set1(scale), shift = set1(-mean * scale);
  for (Int i = begin; i < end; ++i)
    for (Int j = 0; j < a.dim_v; j += W) {
      const Int n = least(W, a.dim_v - j);
      storen(norm + (i - begin) * a.dim_v + j, fma(loadn(x + i * a.c + j, n), s, shift), n);
    }
  float* qkv = t.qkv + (b * a.tokens + begin) * t.ld;
  const Run run = {norm, 0, a.dim_v};
  const float inf = __builtin_inff();
  const Gemm g = {&run, 1,   a.dim_v, a.wqkv,      a.dim_v * 16, 16,   a.bqkv, nullptr,
                  0,    qkv, t.ld,    end - begin, t.width,      -inf, inf};
  gemm(g, 0, panels_of(t.width), first_panels(a.wproj, a.c, a.c));
  float* keys = t.keys + b * a.dim_qk * t.tp;
  for (Int i = begin; i < end; ++i)
    for (Int d = 0; d < a.dim_qk; ++d) keys[d * t.tp + i] = qkv[(i - begin) * t.ld + a.dim_qk + d];
}

// Attention of tokens [begin, end) of image b into `cat` [rows][c]; `scores` is scratch.
inline void attn_rows(const AttnTask& t, Int b, Int begin, Int end, float* scores, float* cat) {
  const AttncAttention& a = *t.a;
  const float inf = __builtin_inff();
  const float* qkv = t.qkv + b * a.tokens * t.ld;
  const Int rows = end - begin;
  const Run q = {qkv + begin * t.ld, 0, a.dim_qk}, p = {scores, 0, a.tokens};
  const Gemm qk = {&q,       1,      t.ld,    t.keys + b * a.dim_qk * t.tp,
                   16,       t.tp,   nullptr, nullptr,
                   0,        scores, t.tp,    rows,
                   a.tokens, -inf,   inf};
  gemm(qk, 0, panels_of(a.tokens), no_hint());
  float sums[kAttnRowsMax];
  for (Int i = 0; i < rows; ++i) sums[i] = softmax_row(scores + i * t.tp, a.tokens);
  const Gemm pv = {
      &p,      1,    t.tp, qkv + 2 * a.dim_qk, 16, t.ld, nullptr, nullptr, 0, cat, a.c, rows,
      a.dim_v, -inf, inf};
  gemm(pv, 0, panels_of(a.dim_v), no_hint());
  const float* x = a.x + (b * a.tokens + begin) * a.c;
  const V lo = set1(a.lo), hi = set1(a.hi);
  for (Int i = 0; i < rows; ++i) {
    const V inverse = set1(1.0f / sums[i]);
    float* out = cat + i * a.c;
    for (Int j = 0; j < a.dim_v; j += W) {
      const Int n = least(W, a.dim_v - j);
      storen(out + j, vmin(hi, vmax(lo, mul(loadn(out + j, n), inverse))), n);
    }
    for (Int j = a.dim_v; j < a.c; j += W) {
      const Int n = least(W, a.c - j);
      storen(out + j, vmin(hi, vmax(lo, loadn(x + i * a.c + j, n))), n);
    }
  }
}

inline Gemm attn_projection(const AttncAttention& a, const Run* run, Int row, Int rows) {
  const float inf = __builtin_inff();
  return {run, 1,    a.c, a.wproj, a.c * 16, 16, a.bproj, a.x + row * a.c, a.c, a.y + row * a.c,
          a.c, rows, a.c, -inf,    inf};
}

inline void attn_qkv_task(void* arg, size_t index) {
  AttnTask& t = *(AttnTask*)arg;
  const Int b = (Int)index / t.blocks;
  Int begin, end;
  rows_of(t.a->tokens, t.blocks, (Int)index % t.blocks, &begin, &end);
  const Int slot = take_slot(&t.slots);
  attn_qkv(t, b, begin, end, t.slots.base + slot * t.slots.stride);
  return_slot(&t.slots, slot);
}

inline void attn_rows_task(void* arg, size_t index) {
  AttnTask& t = *(AttnTask*)arg;
  const AttncAttention& a = *t.a;
  const Int b = (Int)index / t.blocks;
  Int begin, end;
  rows_of(a.tokens, t.blocks, (Int)index % t.blocks, &begin, &end);
  const Int slot = take_slot(&t.slots), rows = end - begin, first = b * a.tokens + begin;
  float* scores = t.slots.base + slot * t.slots.stride;
  float* cat = scores + round16(rows * t.tp);
  attn_rows(t, b, begin, end, scores, cat);
  const Run run = {cat, 0, a.c};
  gemm(attn_projection(a, &run, first, rows), 0, panels_of(a.c), no_hint());
  return_slot(&t.slots, slot);
}

// Few tokens: a whole image up to, not including, the projection.
inline void attn_image_task(void* arg, size_t index) {
  AttnTask& t = *(AttnTask*)arg;
  const Int b = (Int)index, n = t.a->tokens, slot = take_slot(&t.slots);
  float* scratch = t.slots.base + slot * t.slots.stride;
  attn_qkv(t, b, 0, n, scratch);
  attn_rows(t, b, 0, n, scratch, t.cat + b * n * t.a->c);
  return_slot(&t.slots, slot);
}

inline Int attn_blocks(const AttncAttention& a, bool few) {
  if (few || (a.batch >= 4 && a.tokens <= kAttnRowsMax)) return 1;
  return ceil_div(a.tokens, kAttnRowsMax) * 2;
}

AttncStatus attention_f32(const AttncHost* host, const AttncAttention* a) {
  if (a->batch * a->tokens == 0) return kAttncOk;
  const bool few = a->tokens <= 32;
  AttnTask t = {};
  t.a = a;
  t.width = 2 * a->dim_qk + a->dim_v;
  t.ld = round16(t.width);
  t.tp = round16(a->tokens);
  t.blocks = least(a->tokens, attn_blocks(*a, few));
  const Int tasks = a->batch * t.blocks, rows = ceil_div(a->tokens, t.blocks);
  const Int qkv = a->batch * a->tokens * t.ld + 16;
  const Int keys = a->batch * a->dim_qk * t.tp,
            cat = few ? round16(a->batch * a->tokens * a->c) : 0;
  t.slots.count = least(tasks, kMaxSlots);
  t.slots.stride = round16(most(rows * a->dim_v, round16(rows * t.tp) + (few ? 0 : rows * a->c)));
  float* scratch = alloc_floats(host, round16(qkv) + keys + cat + t.slots.stride * t.slots.count);
  if (!scratch) return kAttncNoMemory;
  t.qkv = scratch;
  t.keys = scratch + round16(qkv);
  t.cat = t.keys + keys;
  t.slots.base = t.cat + cat;
  if (few) {
    host->parallel_for(host->user, (size_t)tasks, attn_image_task, &t);
    const Run run = {t.cat, 0, a->c};
    parallel_gemm(host, attn_projection(*a, &run, 0, a->batch * a->tokens), no_hint());
  } else {
    host->parallel_for(host->user, (size_t)tasks, attn_qkv_task, &t);
    host->parallel_for(host->user, (size_t)tasks, attn_rows_task, &t);
  }
  host->free(host->user, scratch);
  return kAttncOk;
}
