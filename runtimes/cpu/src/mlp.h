// A transformer's feed-forward block. The hidden layer is computed a stretch of columns at a time
// and multiplied on at once: its rows stay in the level-2 cache however wide it is, and the weights
// are read once per block of rows.

constexpr Int kStretch = 256;  // columns of the hidden layer

inline Gemm mlp_first(const AttncMlp& a, const Run* run, float* hidden, Int ld, Int rows) {
  Gemm g = {run, 1,      a.c,
            a.w1, a.c * 16, 16,
            a.b1, nullptr, 0,
            hidden, ld,   rows,
            a.hidden, -__builtin_inff(), __builtin_inff()};
  g.gelu = true;
  return g;
}

// The first stretch adds x and the bias, the others what is in y.
inline Gemm mlp_second(const AttncMlp& a, const Run* run, Int ld, Int row, Int rows, bool begin) {
  float* y = a.y + row * a.c;
  return {run, 1,      ld,
          a.w2, a.hidden * 16, 16,
          begin ? a.b2 : nullptr, begin ? a.x + row * a.c : y, a.c,
          y,   a.c,    rows,
          a.c, -__builtin_inff(), __builtin_inff()};
}

struct MlpTask {
  const AttncMlp* a;
  Slots slots;
  Int blocks, stretches;
};

// First panel of a stretch.
inline Int stretch_begin(const MlpTask& t, Int stretch) {
  return panels_of(t.a->hidden) * stretch / t.stretches;
}

inline Int stretch_columns(const MlpTask& t) {
  return ceil_div(panels_of(t.a->hidden), t.stretches) * 16;
}

inline void mlp_task(void* arg, size_t index) {
  MlpTask& t = *(MlpTask*)arg;
  const AttncMlp& a = *t.a;
  Int begin, end;
  rows_of(a.rows, t.blocks, (Int)index, &begin, &end);
  const Int rows = end - begin, slot = take_slot(&t.slots), ld = stretch_columns(t);
  float* normal = t.slots.base + slot * t.slots.stride;
  float* hidden = normal + round16(rows * a.c);
  norm_rows(a.x + begin * a.c, normal, rows, a.c, a.epsilon);
  for (Int s = 0; s < t.stretches; ++s) {
    const Int first = stretch_begin(t, s), last = stretch_begin(t, s + 1);
    const Run in = {normal, 0, a.c};
    const Run mid = {hidden, first * 256, least(last * 16, a.hidden) - first * 16};
    Ahead next = no_hint();
    next.add(a.w2 + mid.b, mid.length * 16);
    gemm(mlp_first(a, &in, hidden - first * 16, ld, rows), first, last, next);
    next = no_hint();
    if (s + 1 < t.stretches) next.add(a.w1 + last * a.c * 16, a.c * 16);
    gemm(mlp_second(a, &mid, ld, begin, rows, s == 0), 0, panels_of(a.c), next);
  }
  return_slot(&t.slots, slot);
}

// Few rows: the threads share the weights of each product.
inline void mlp_few_rows(const AttncHost* host, const AttncMlp& a, float* normal) {
  float* hidden = normal + round16(a.rows * a.c);
  norm_rows(a.x, normal, a.rows, a.c, a.epsilon);
  const Run in = {normal, 0, a.c}, mid = {hidden, 0, a.hidden};
  parallel_gemm(host, mlp_first(a, &in, hidden, a.hidden, a.rows),
                first_panels(a.w2, a.hidden, a.c));
  parallel_gemm(host, mlp_second(a, &mid, a.hidden, 0, a.rows, true), no_hint());
}

AttncStatus mlp_f32(const AttncHost* host, const AttncMlp* a) {
  if (a->rows == 0) return kAttncOk;
  const bool by_rows = a->rows >= kManyRows;
  MlpTask t = {a, {nullptr, 0, 1, 0}, 1, by_rows ? ceil_div(a->hidden, kStretch) : 1};
  const Int ld = by_rows ? stretch_columns(t) : a->hidden;
  if (by_rows) t.blocks = row_blocks(a->rows, 2 * a->c + ld);
  const Int rows = ceil_div(a->rows, t.blocks);
  t.slots.count = least(t.blocks, kMaxSlots);
  t.slots.stride = round16(rows * a->c) + round16(rows * ld);
  t.slots.base = alloc_floats(host, t.slots.stride * t.slots.count);
  if (!t.slots.base) return kAttncNoMemory;
  if (by_rows)
    host->parallel_for(host->user, (size_t)t.blocks, mlp_task, &t);
  else
    mlp_few_rows(host, *a, t.slots.base);
  host->free(host->user, t.slots.base);
  return kAttncOk;
}
