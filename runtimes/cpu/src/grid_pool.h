// Adaptive average pooling: sums over the windows of a channels-last map.

struct PlaceRange {
  Int begin, end;
};

// Cell i of `cells` over an axis of `places`; windows may overlap.
inline PlaceRange cell_window(Int places, Int cells, Int i) {
  return {i * places / cells, ceil_div((i + 1) * places, cells)};
}

// Mean of a window, `channels` (at most four vectors' worth) from x on.
inline void window_mean(const AttncGridPool& a, const float* x, PlaceRange down, PlaceRange across,
                        Int channels, float* y) {
  const V scale = set1(1.0f / (float)((down.end - down.begin) * (across.end - across.begin)));
  V sum[4] = {set1(0.0f), set1(0.0f), set1(0.0f), set1(0.0f)};
  const bool whole = channels == 4 * W;
  for (Int i = down.begin; i < down.end; ++i)
    for (Int j = across.begin; j < across.end; ++j) {
      const float* p = x + (i * a.width + j) * a.c;
      ATTNC_UNROLL
      for (int v = 0; v < 4; ++v) {
        const Int n = channels - v * W;
        if (whole || n >= W)
          sum[v] = add(sum[v], load(p + v * W));
        else if (n > 0)
          sum[v] = add(sum[v], loadn(p + v * W, n));
      }
    }
  ATTNC_UNROLL
  for (int v = 0; v < 4; ++v) {
    const Int n = channels - v * W;
    if (n >= W)
      store(y + v * W, mul(sum[v], scale));
    else if (n > 0)
      storen(y + v * W, mul(sum[v], scale), n);
  }
}

inline void grid_pool_task(void* arg, size_t index) {
  const AttncGridPool& a = *(const AttncGridPool*)arg;
  const Int b = (Int)index / a.rows, row = (Int)index % a.rows;
  const float* x = a.x + b * a.h * a.width * a.c;
  float* y = a.y + (Int)index * a.columns * a.c;
  const PlaceRange down = cell_window(a.h, a.rows, row);
  for (Int column = 0; column < a.columns; ++column, y += a.c) {
    const PlaceRange across = cell_window(a.width, a.columns, column);
    for (Int c = 0; c < a.c; c += 4 * W)
      window_mean(a, x + c, down, across, least(4 * W, a.c - c), y + c);
  }
}

AttncStatus grid_pool_f32(const AttncHost* host, const AttncGridPool* a) {
  const Int tasks = a->batch * a->rows;
  if (tasks > 0) host->parallel_for(host->user, (size_t)tasks, grid_pool_task, (void*)a);
  return kAttncOk;
}
