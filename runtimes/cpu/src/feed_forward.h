// Two pointwise products with an activation between them and a residual around both.

inline Gemm ffn_first(const AttncFeedForward& a, const Run* run, float* hidden, Int rows) {
  return {run, 1,      a.c,      a.w1, a.c * 16, 16,   a.b1, nullptr,
          0,   hidden, a.hidden, rows, a.hidden, a.lo, a.hi};
}

inline Gemm ffn_second(const AttncFeedForward& a, const Run* run, Int row, Int rows) {
  return {run,
          1,
          a.hidden,
          a.w2,
          a.hidden * 16,
          16,
          a.b2,
          a.x + row * a.c,
          a.c,
          a.y + row * a.c,
          a.c,
          rows,
          a.c,
          -__builtin_inff(),
          __builtin_inff()};
}

struct FfnTask {
  const AttncFeedForward* a;
  Slots slots;
  Int blocks;
};

// A block of rows through both products; the hidden rows stay in the level-2 cache.
inline void ffn_task(void* arg, size_t index) {
  FfnTask& t = *(FfnTask*)arg;
  const AttncFeedForward& a = *t.a;
  Int begin, end;
  rows_of(a.rows, t.blocks, (Int)index, &begin, &end);
  const Int slot = take_slot(&t.slots);
  float* hidden = t.slots.base + slot * t.slots.stride;
  const Run in = {a.x + begin * a.c, 0, a.c}, mid = {hidden, 0, a.hidden};
  gemm(ffn_first(a, &in, hidden, end - begin), 0, panels_of(a.hidden),
       first_panels(a.w2, a.hidden, a.c));
  gemm(ffn_second(a, &mid, begin, end - begin), 0, panels_of(a.c), no_hint());
  return_slot(&t.slots, slot);
}

constexpr Int kFfnRows = 64;

AttncStatus feed_forward_f32(const AttncHost* host, const AttncFeedForward* a) {
  if (a->rows == 0) return kAttncOk;
  const bool by_rows = a->rows >= 3 * kFfnRows;
  FfnTask t = {a, {nullptr, 0, 1, 0}, by_rows ? ceil_div(a->rows, 2 * kFfnRows) * 2 : 1};
  t.slots.count = least(t.blocks, kMaxSlots);
  t.slots.stride = round16(ceil_div(a->rows, t.blocks) * a->hidden);
  t.slots.base = alloc_floats(host, t.slots.stride * t.slots.count);
  if (!t.slots.base) return kAttncNoMemory;
  if (by_rows) {
    host->parallel_for(host->user, (size_t)t.blocks, ffn_task, &t);
  } else {
    const Run in = {a->x, 0, a->c}, mid = {t.slots.base, 0, a->hidden};
    parallel_gemm(host, ffn_first(*a, &in, t.slots.base, a->rows),
                  first_panels(a->w2, a->hidden, a->c));
    parallel_gemm(host, ffn_second(*a, &mid, 0, a->rows), no_hint());
  }
  host->free(host->user, t.slots.base);
  return kAttncOk;
}
