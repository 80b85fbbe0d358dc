// GLMix's slots (arXiv 2411.14429): gathered from the tokens by a softmax over the tokens, dealt
// out again by one over the slots. Both softmaxes run block by block between the two products, so
// that besides the logits, which both need, nothing of that size is written.

constexpr Int kSlotRows = 64;          // tokens at a time: their weights stay in the level-1 cache
constexpr Int kMostStrips = 16;
constexpr Int kCosineParts = 4;        // see cosines
constexpr float kLeastLength = 1e-12f;  // see compiler/ops/slot_cluster.py

// Rows [rows, n] with row stride ld to panels [ceil(n/16)][rows][16], zeros in the columns past n.
inline void pack_rows(float* out, const float* x, Int rows, Int n, Int ld) {
  for (Int j = 0; j < n; j += 16, out += rows * 16)
    for (Int i = 0; i < rows; ++i)
      for (Int v = 0; v < 16; v += W) {
        const Int left = n - j - v;
        const float* p = x + i * ld + j + v;
        store(out + i * 16 + v, left >= W ? load(p) : left > 0 ? loadn(p, left) : set1(0.0f));
      }
}

inline float length_of(const float* x, Int n) {
  V s = set1(0.0f);
  for (Int j = 0; j < n; j += W) {
    const V v = n - j >= W ? load(x + j) : loadn(x + j, n - j);
    s = fma(v, v, s);
  }
  const float length = __builtin_sqrtf(sum_lanes(s));
  return length > kLeastLength ? length : length >= 0 ? kLeastLength : length;  // NaN stays
}

// The tokens of an image are cut into strips, each with its own running maximum, sum and result
// per slot; the cut does not depend on the number of threads.
struct ClusterTask {
  const AttncSlotCluster* a;
  Int sp, cp, strips;
  float* directions;  // [slot_batch][sp/16][c][16]: slots over their lengths, times the scale
  float* parts;       // [batch][strips]: maxima [sp], sums [sp], result [sp][cp]
  Int part;           // floats of one of them
  Slots scratch;
};

inline void direction_task(void* arg, size_t index) {
  const ClusterTask& t = *(const ClusterTask*)arg;
  const AttncSlotCluster& a = *t.a;
  const Int panels = t.sp / 16, b = (Int)index / panels, p = (Int)index % panels;
  float* out = t.directions + (Int)index * a.c * 16;
  for (Int s = 0; s < 16; ++s) {
    const Int at = p * 16 + s;
    const float* slot = a.slots + (b * a.count + least(at, a.count - 1)) * a.c;
    const float factor = at < a.count ? a.scale / length_of(slot, a.c) : 0.0f;
    for (Int k = 0; k < a.c; ++k) out[k * 16 + s] = slot[k] * factor;
  }
}

// R slots by one panel of channels: result = result * factor + weights^T x.
template <int R>
void gather_tile(float* out, Int ld, const float* factor, const float* weights, Int sp,
                 const float* x, Int rows) {
  V acc[R][kVecs];
  ATTNC_UNROLL
  for (int r = 0; r < R; ++r) ATTNC_UNROLL
  for (int v = 0; v < kVecs; ++v) acc[r][v] = mul(set1(factor[r]), load(out + r * ld + v * W));
  for (Int k = 0; k < rows; ++k, weights += sp, x += 16) {
    V row[kVecs];
    ATTNC_UNROLL
    for (int v = 0; v < kVecs; ++v) row[v] = load(x + v * W);
    ATTNC_UNROLL
    for (int r = 0; r < R; ++r) {
      const V w = set1(weights[r]);
      ATTNC_UNROLL
      for (int v = 0; v < kVecs; ++v) acc[r][v] = fma(w, row[v], acc[r][v]);
    }
  }
  ATTNC_UNROLL
  for (int r = 0; r < R; ++r) ATTNC_UNROLL
  for (int v = 0; v < kVecs; ++v) store(out + r * ld + v * W, acc[r][v]);
}

typedef void (*GatherTile)(float*, Int, const float*, const float*, Int, const float*, Int);

template <int R>
inline GatherTile pick_gather(Int rows) {
  if constexpr (R > 1) {
    if (rows != R) return pick_gather<R - 1>(rows);
  }
  return gather_tile<R>;
}

// Logits over the tokens' lengths, in place; then weights against the new maxima. `state` holds
// maxima and sums; `factor` is what the result so far shrinks by. One vector of slots at a time.
inline void cluster_weights(const AttncSlotCluster& a, Int sp, const float* lengths, Int rows,
                            float* logits, float* state, float* factor, float* weights) {
  for (Int s = 0; s < sp; s += W) {
    const Int n = most(0, least(W, a.count - s));
    const V before = load(state + s);
    V top = before;
    for (Int i = 0; n > 0 && i < rows; ++i) {
      float* at = logits + i * a.count + s;
      const V l = mul(n == W ? load(at) : loadn(at, n), set1(lengths[i]));
      if (n == W)
        store(at, l);
      else
        storen(at, l, n);
      top = vmax(top, l);
    }
    V sum = set1(0.0f);
    for (Int i = 0; i < rows; ++i) {
      const float* at = logits + i * a.count + s;
      const V l = n == W ? load(at) : n > 0 ? loadn(at, n) : set1(0.0f);
      const V e = exp_v(sub(l, top));
      store(weights + i * sp + s, e);
      sum = add(sum, e);
    }
    const V f = exp_v(sub(before, top));
    store(factor + s, f);
    store(state + s, top);
    store(state + sp + s, fma(load(state + sp + s), f, sum));
  }
}

// Products of tokens and directions. A softmax of large logits shows every rounding of them: sums of
// four parts of the channels, added at the end, have half the error of one long sum.
inline void cosines(const AttncSlotCluster& a, const float* x, const float* directions, Int sp,
                    Int rows, float* logits) {
  const float inf = __builtin_inff();
  const Int depth = ceil_div(ceil_div(a.c, kCosineParts), 4) * 4;
  for (Int k = 0; k < a.c; k += depth) {
    const Run run = {x + k, k * 16, least(depth, a.c - k)};
    const float* sums = k ? logits : nullptr;
    const Gemm g = {&run,    1,      a.c,     directions, a.c * 16, 16,   nullptr, sums,
                    a.count, logits, a.count, rows,       a.count,  -inf, inf};
    gemm(g, 0, sp / 16, no_hint());
  }
}

inline void cluster_rows(const ClusterTask& t, Int b, Int begin, Int rows, float* part,
                         float* scratch) {
  const AttncSlotCluster& a = *t.a;
  const float inf = __builtin_inff();
  const float* x = a.x + (b * a.tokens + begin) * a.c;
  float* logits = a.logits + (b * a.tokens + begin) * a.count;
  float *lengths = scratch, *factor = lengths + kSlotRows, *weights = factor + t.sp;
  float* panels = weights + kSlotRows * t.sp;
  const float* directions = t.directions + (a.slot_batch == 1 ? 0 : b) * t.sp * a.c;
  cosines(a, x, directions, t.sp, rows, logits);
  for (Int i = 0; i < rows; ++i) lengths[i] = 1.0f / length_of(x + i * a.c, a.c);
  cluster_weights(a, t.sp, lengths, rows, logits, part, factor, weights);
  pack_rows(panels, x, rows, a.c, a.c);
  const Int tiles = ceil_div(a.count, kMaxRows[0]);
  for (Int j = 0; j < t.cp; j += 16)
    for (Int k = 0, s = 0; k < tiles; ++k) {
      const Int n = (a.count - s) / (tiles - k);
      pick_gather<kMaxRows[0]>(n)(part + 2 * t.sp + s * t.cp + j, t.cp, factor + s,
                                  weights + s, t.sp, panels + j * rows, rows);
      s += n;
    }
}

inline void cluster_task(void* arg, size_t index) {
  ClusterTask& t = *(ClusterTask*)arg;
  const Int b = (Int)index / t.strips;
  Int begin, end;
  rows_of(t.a->tokens, t.strips, (Int)index % t.strips, &begin, &end);
  float* part = t.parts + (Int)index * t.part;
  for (Int i = 0; i < t.part; ++i) part[i] = i < t.sp ? -3e38f : 0.0f;
  const Int slot = take_slot(&t.scratch), blocks = ceil_div(end - begin, kSlotRows);
  for (Int k = 0; k < blocks; ++k) {
    Int from, to;
    rows_of(end - begin, blocks, k, &from, &to);
    cluster_rows(t, b, begin + from, to - from, part,
                 t.scratch.base + slot * t.scratch.stride);
  }
  return_slot(&t.scratch, slot);
}

// One slot of one image: the strips' results, each brought to the common maximum.
inline void cluster_join_task(void* arg, size_t index) {
  const ClusterTask& t = *(const ClusterTask*)arg;
  const AttncSlotCluster& a = *t.a;
  const Int b = (Int)index / a.count, s = (Int)index % a.count;
  const float* parts = t.parts + b * t.strips * t.part;
  float top = parts[s], sum = 0;
  for (Int k = 1; k < t.strips; ++k) {
    const float other = parts[k * t.part + s];
    top = other > top ? other : top;
  }
  float factors[kMostStrips];
  for (Int k = 0; k < t.strips; ++k) {
    float f[W];
    store(f, exp_v(set1(parts[k * t.part + s] - top)));
    factors[k] = f[0];
    sum += factors[k] * parts[k * t.part + t.sp + s];
  }
  float* y = a.y + (b * a.count + s) * a.c;
  for (Int j = 0; j < a.c; j += W) {
    V total = set1(0.0f);
    for (Int k = 0; k < t.strips; ++k) {
      const float* part = parts + k * t.part + 2 * t.sp + s * t.cp;
      total = fma(set1(factors[k] / sum), load(part + j), total);
    }
    const Int n = least(W, a.c - j);
    if (n == W)
      store(y + j, total);
    else
      storen(y + j, total, n);
  }
}

AttncStatus slot_cluster_f32(const AttncHost* host, const AttncSlotCluster* a) {
  if (a->batch == 0) return kAttncOk;
  ClusterTask t = {};
  t.a = a;
  t.sp = round16(a->count);
  t.cp = round16(a->c);
  t.strips = a->tokens < kSlotRows ? 1 : least(kMostStrips, 2 * ceil_div(a->tokens, 1024));
  t.part = 2 * t.sp + t.sp * t.cp;
  const Int images = a->slot_batch, tasks = a->batch * t.strips;
  t.scratch.count = least(tasks, kMaxSlots);
  t.scratch.stride = kSlotRows + t.sp + kSlotRows * (t.sp + t.cp);
  t.directions = alloc_floats(host, images * t.sp * a->c + tasks * t.part +
                                        t.scratch.count * t.scratch.stride);
  if (!t.directions) return kAttncNoMemory;
  t.parts = t.directions + images * t.sp * a->c;
  t.scratch.base = t.parts + tasks * t.part;
  host->parallel_for(host->user, (size_t)(images * t.sp / 16), direction_task, &t);
  host->parallel_for(host->user, (size_t)tasks, cluster_task, &t);
  host->parallel_for(host->user, (size_t)(a->batch * a->count), cluster_join_task, &t);
  host->free(host->user, t.directions);
  return kAttncOk;
}

struct DispatchTask {
  const AttncSlotDispatch* a;
  Int sp, cp, blocks;
  float* panels;  // [batch][cp/16][count][16]: the slots
  Slots scratch;
};

inline void dispatch_pack_task(void* arg, size_t index) {
  const DispatchTask& t = *(const DispatchTask*)arg;
  const AttncSlotDispatch& a = *t.a;
  const Int b = (Int)index;
  pack_rows(t.panels + b * t.cp * a.count, a.slots + b * a.count * a.c, a.count, a.c, a.c);
}

inline void dispatch_task(void* arg, size_t index) {
  DispatchTask& t = *(DispatchTask*)arg;
  const AttncSlotDispatch& a = *t.a;
  const Int b = (Int)index / t.blocks;
  Int begin, end;
  rows_of(a.tokens, t.blocks, (Int)index % t.blocks, &begin, &end);
  const Int rows = end - begin, first = b * a.tokens + begin;
  const Int slot = take_slot(&t.scratch);
  float* weights = t.scratch.base + slot * t.scratch.stride;
  for (Int i = 0; i < rows; ++i) {
    float* row = weights + i * t.sp;
    __builtin_memcpy(row, a.logits + (first + i) * a.count, (size_t)a.count * sizeof(float));
    const V inverse = set1(1.0f / softmax_row(row, a.count));
    for (Int j = 0; j < a.count; j += W) {  // rows are padded to whole vectors
      const Int n = least(W, a.count - j);
      storen(row + j, mul(loadn(row + j, n), inverse), n);
    }
  }
  const float inf = __builtin_inff();
  const Run run = {weights, 0, a.count};
  const Gemm g = {&run,
                  1,
                  t.sp,
                  t.panels + b * t.cp * a.count,
                  a.count * 16,
                  16,
                  nullptr,
                  a.residual ? a.residual + first * a.c : nullptr,
                  a.c,
                  a.y + first * a.c,
                  a.c,
                  rows,
                  a.c,
                  -inf,
                  inf};
  gemm(g, 0, t.cp / 16, no_hint());
  return_slot(&t.scratch, slot);
}

AttncStatus slot_dispatch_f32(const AttncHost* host, const AttncSlotDispatch* a) {
  if (a->batch == 0) return kAttncOk;
  DispatchTask t = {};
  t.a = a;
  t.sp = round16(a->count);
  t.cp = round16(a->c);
  t.blocks = least(a->tokens, 2 * ceil_div(a->tokens, 2 * kSlotRows));
  const Int tasks = a->batch * t.blocks;
  t.scratch.count = least(tasks, kMaxSlots);
  t.scratch.stride = ceil_div(a->tokens, t.blocks) * t.sp;
  t.panels = alloc_floats(host, a->batch * t.cp * a->count + t.scratch.count * t.scratch.stride);
  if (!t.panels) return kAttncNoMemory;
  t.scratch.base = t.panels + a->batch * t.cp * a->count;
  host->parallel_for(host->user, (size_t)a->batch, dispatch_pack_task, &t);
  host->parallel_for(host->user, (size_t)tasks, dispatch_task, &t);
  host->free(host->user, t.panels);
  return kAttncOk;
}
