// Products cut into tasks, and scratch memory for tasks that run at the same time.

// A product split into row blocks and panel chunks. One row's arithmetic never depends on the
// split, so results are the same for any number of threads.
struct Grid {
  Gemm g;
  Int panels, blocks, chunks;
  Ahead next;  // the beginning of what follows this product
};

inline Ahead no_hint() { return {{}, {}, 0}; }

// The first panels of the packed matrix P(W[k, n]).
inline Ahead first_panels(const float* w, Int k, Int n) {
  Ahead a = no_hint();
  a.add(w, least(panels_of(n), 3) * 16 * k);
  return a;
}

inline void rows_of(Int rows, Int blocks, Int block, Int* begin, Int* end) {
  *begin = rows * block / blocks;
  *end = rows * (block + 1) / blocks;
}

inline void gemm_rows(Gemm g, Int begin, Int end, Int first, Int last, const Ahead& after) {
  Run run = g.runs[0];
  run.a += begin * g.lda;
  g.runs = &run;
  g.c += begin * g.ldc;
  if (g.residual) g.residual += begin * g.ldr;
  g.m = end - begin;
  gemm(g, first, last, after);
}

inline void grid_task(void* arg, size_t index) {
  const Grid& grid = *(const Grid*)arg;
  const Int chunk = (Int)index / grid.blocks, block = (Int)index % grid.blocks;
  Int begin, end;
  rows_of(grid.g.m, grid.blocks, block, &begin, &end);
  const Int first = grid.chunks == 1 ? 0 : chunk_begin(grid.panels, chunk);
  const Int last = grid.chunks == 1 ? grid.panels : chunk_begin(grid.panels, chunk + 1);
  Ahead after = no_hint();
  if (block + 1 == grid.blocks && last < grid.panels)
    after.add(grid.g.b + last * grid.g.b_panel, least(3, grid.panels - last) * grid.g.b_panel);
  else if (last == grid.panels)
    after = grid.next;
  gemm_rows(grid.g, begin, end, first, last, after);
}

constexpr Int kL2 = 512 * 1024;  // half of a small level-2 cache

// A plain product (one run) over the threads. Few rows: the weights are cut, so that no thread
// streams all of them; many rows and small weights: the rows are cut.
inline void parallel_gemm(const AttncHost* host, const Gemm& g, const Ahead& next) {
  Grid grid = {g, panels_of(g.n), 1, 1, next};
  const Int weight_bytes = g.b_panel * grid.panels * 4;
  if (g.m >= 256 && weight_bytes <= kL2) {
    grid.blocks = ceil_div(g.m, 128) * 2;
  } else {
    grid.chunks = chunk_count(grid.panels);
    grid.blocks = ceil_div(g.m, 128);
    if (grid.chunks < 4 && g.m >= 32) grid.blocks = ceil_div(g.m, 64) * 2;
  }
  host->parallel_for(host->user, (size_t)(grid.blocks * grid.chunks), grid_task, &grid);
}

inline float* alloc_floats(const AttncHost* host, Int n) {
  return (float*)host->alloc(host->user, (size_t)(n + 64) * sizeof(float));
}

inline Int round16(Int n) { return (n + 15) / 16 * 16; }

// Scratch slots: a task takes a free one, so that the next task of that thread finds it in cache.
struct Slots {
  float* base;
  Int stride, count;
  unsigned used;  // bit set = taken
};

constexpr Int kMaxSlots = 32;

inline Int take_slot(Slots* slots) {
  for (;;) {
    for (Int i = 0; i < slots->count; ++i) {
      const unsigned bit = 1u << i;
      if (!(__atomic_fetch_or(&slots->used, bit, __ATOMIC_ACQUIRE) & bit)) return i;
    }
  }
}

inline void return_slot(Slots* slots, Int slot) {
  __atomic_fetch_and(&slots->used, ~(1u << slot), __ATOMIC_RELEASE);
}
