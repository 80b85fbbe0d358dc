// Token-wise linear layers: [LayerNorm,] product, bias, then clamp and residual or GELU.

// Rows of a block: what a task normalises or computes between two products stays in the level-2
// cache beside a few panels, yet enough rows that the weights, which every block reads, do not
// come faster than memory gives them.
constexpr Int kBlockBytes = 400 * 1024, kLeastRows = 48, kMostRows = 128;

// Fewer rows than this are not cut: the threads share the weights instead.
constexpr Int kManyRows = 2 * kLeastRows;

// An even number of blocks for `floats` floats of scratch per row.
inline Int row_blocks(Int rows, Int floats) {
  const Int fit = kBlockBytes / (4 * most(1, floats));
  return ceil_div(rows, 2 * most(kLeastRows, least(kMostRows, fit))) * 2;
}

inline Gemm linear_gemm(const AttncLinear& a, const Run* run, Int row, Int rows) {
  Gemm g = {run, 1,     a.k,
            a.w, a.k * 16, 16,
            a.bias, a.residual ? a.residual + row * a.n : nullptr, a.n,
            a.y + row * a.n, a.n, rows,
            a.n, a.lo, a.hi};
  g.gelu = a.gelu != 0;
  return g;
}

struct LinearTask {
  const AttncLinear* a;
  Slots slots;
  Int blocks;
};

inline void linear_task(void* arg, size_t index) {
  LinearTask& t = *(LinearTask*)arg;
  const AttncLinear& a = *t.a;
  Int begin, end;
  rows_of(a.rows, t.blocks, (Int)index, &begin, &end);
  Run run = {a.x + begin * a.k, 0, a.k};
  const Int slot = a.norm ? take_slot(&t.slots) : 0;
  if (a.norm) {
    float* normal = t.slots.base + slot * t.slots.stride;
    norm_rows(run.a, normal, end - begin, a.k, a.epsilon);
    run.a = normal;
  }
  gemm(linear_gemm(a, &run, begin, end - begin), 0, panels_of(a.n), no_hint());
  if (a.norm) return_slot(&t.slots, slot);
}

AttncStatus linear_f32(const AttncHost* host, const AttncLinear* a) {
  if (a->rows == 0) return kAttncOk;
  const bool by_rows = a->rows >= kManyRows;
  LinearTask t = {a, {nullptr, 0, 1, 0}, by_rows ? row_blocks(a->rows, a->k) : 1};
  if (a->norm) {
    t.slots.count = least(t.blocks, kMaxSlots);
    t.slots.stride = round16(ceil_div(a->rows, t.blocks) * a->k);
    t.slots.base = alloc_floats(host, t.slots.stride * t.slots.count);
    if (!t.slots.base) return kAttncNoMemory;
  }
  if (by_rows) {
    host->parallel_for(host->user, (size_t)t.blocks, linear_task, &t);
  } else {
    if (a->norm) norm_rows(a->x, t.slots.base, a->rows, a->k, a->epsilon);
    const Run run = {a->norm ? t.slots.base : a->x, 0, a->k};
    parallel_gemm(host, linear_gemm(*a, &run, 0, a->rows), no_hint());
  }
  if (a->norm) host->free(host->user, t.slots.base);
  return kAttncOk;
}
