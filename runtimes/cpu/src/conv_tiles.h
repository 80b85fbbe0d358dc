// Convolutions of stride one by minimal filtering (Winograd 1980; Lavin and Gray 2016): tiles of 4x4
// outputs from tiles of S x S inputs, S = 3 + R, each tile a product at S x S points.
//
// Windows of up to 3x3 take R = 3. Larger ones are cut into parts of 4x4 taps (R = 4): a part that
// lies four taps further meets the input tiles that lie one tile further, so the parts share the
// transformed input, and their products add up before the transform back.
// Weights are P(W[K,N]) per point, K = (part row, part column, c), transformed at export.

constexpr Int kTileOut = 4;

// Interpolation at 0, 1, -1, 1/2, -2 and infinity.
struct Tiles3 {
  static constexpr Int kTaps = 3, kSize = 6;
  static constexpr float kIn[kSize][kSize] = {
      {1, -1.5f, -2, 1.5f, 1, 0}, {0, -1, 0.5f, 2.5f, 1, 0},  {0, 1, -2.5f, 0.5f, 1, 0},
      {0, -2, -1, 2, 1, 0},       {0, 0.5f, -1, -0.5f, 1, 0}, {0, 1, -1.5f, -2, 1.5f, 1}};
  static constexpr float kOut[kTileOut][kSize] = {{1, 1, 1, 1, 1, 0},
                                                  {0, 1, -1, 0.5f, -2, 0},
                                                  {0, 1, 1, 0.25f, 4, 0},
                                                  {0, 1, -1, 0.125f, -8, 1}};
};

// Interpolation at 0, 1, -1, 3/2, -2, -1/3 and infinity: of the sets of small fractions the one
// that rounds least.
struct Tiles4 {
  static constexpr Int kTaps = 4, kSize = 7;
  static constexpr float kIn[kSize][kSize] = {
      {1, 17.0f / 6, -11.0f / 6, -23.0f / 6, 5.0f / 6, 1, 0},
      {0, -1, -23.0f / 6, -2, 11.0f / 6, 1, 0},
      {0, 1, 11.0f / 6, -11.0f / 3, -1.0f / 6, 1, 0},
      {0, -2.0f / 3, -7.0f / 3, -1.0f / 3, 7.0f / 3, 1, 0},
      {0, 0.5f, 7.0f / 6, -1.5f, -7.0f / 6, 1, 0},
      {0, 3, -0.5f, -4, 0.5f, 1, 0},
      {0, 1, 17.0f / 6, -11.0f / 6, -23.0f / 6, 5.0f / 6, 1}};
  static constexpr float kOut[kTileOut][kSize] = {{1, 1, 1, 1, 1, 1, 0},
                                                  {0, 1, -1, 1.5f, -2, -1.0f / 3, 0},
                                                  {0, 1, 1, 2.25f, 4, 1.0f / 9, 0},
                                                  {0, 1, -1, 3.375f, -8, -1.0f / 27, 1}};
};

// A band of tile rows [top, top + rows) of the images [image, image + images), with its scratch:
// in  [point][image][part column][row of tiles][tile][c], its rows reaching `parts` - 1 further;
// out [point][image][row of tiles][tile][n16].
struct TileBand {
  const AttncConv* a;
  Int parts, across, image, images, top, rows;
  float *in, *out;

  Int grid_rows() const { return rows + parts - 1; }
  Int in_row() const { return across * a->c; }
  Int in_part() const { return grid_rows() * in_row(); }
  Int in_image() const { return parts * in_part(); }
  Int in_point() const { return images * in_image(); }
  Int width() const { return panels_of(a->n) * 16; }
  Int out_row() const { return across * width(); }
  Int out_image() const { return rows * out_row(); }
  Int out_point() const { return images * out_image(); }
};

// Coefficients are known while compiling: zeros cost nothing, ones no multiplication.
template <Int N>
ATTNC_INLINE V tile_sum(const float (&factors)[N], const V* x) {
  V sum = set1(0.0f);
  bool first = true;
  ATTNC_UNROLL
  for (int i = 0; i < N; ++i) {
    const float f = factors[i];
    if (f == 0.0f) continue;
    if (first)
      sum = f == 1.0f ? x[i] : mul(set1(f), x[i]);
    else if (f == 1.0f)
      sum = add(sum, x[i]);
    else if (f == -1.0f)
      sum = sub(sum, x[i]);
    else
      sum = fma(set1(f), x[i], sum);
    first = false;
  }
  return sum;
}

// A vector of channels of the input tile at (y, x), into its places `to` + point * stride.
template <class T, bool Whole>
inline void tile_in(const AttncConv& a, const float* image, Int y, Int x, Int n, float* to,
                    Int stride, float* again) {
  V columns[T::kSize][T::kSize];
  for (int j = 0; j < T::kSize; ++j) {
    V raw[T::kSize];
    ATTNC_UNROLL
    for (int i = 0; i < T::kSize; ++i) {
      const Int at = ((y + i) * a.width + x + j) * a.c;
      if constexpr (Whole) {
        raw[i] = load(image + at);
      } else {
        const bool inside = y + i >= 0 && y + i < a.h && x + j >= 0 && x + j < a.width;
        raw[i] = inside ? loadn(image + at, n) : set1(0.0f);
      }
    }
    ATTNC_UNROLL
    for (int p = 0; p < T::kSize; ++p) columns[p][j] = tile_sum(T::kIn[p], raw);
  }
  for (int p = 0; p < T::kSize; ++p) {
    ATTNC_UNROLL
    for (int q = 0; q < T::kSize; ++q) {
      const V v = tile_sum(T::kIn[q], columns[p]);
      const Int at = (p * T::kSize + q) * stride;
      if constexpr (Whole) {
        if (to) store(to + at, v);
        if (again) store(again + at, v);
      } else {
        if (to) storen(to + at, v, n);
        if (again) storen(again + at, v, n);
      }
    }
  }
}

// Asks for the pixels that a tile has beyond the one to its left, or for those that it will write:
// neighbours in a map lie too far apart for the processor to guess.
template <Int Rows, Int Columns>
ATTNC_INLINE void tile_ask(const float* pixels, Int row, Int pixel, bool write) {
  for (Int i = 0; i < Rows; ++i)
    for (Int j = 0; j < Columns; ++j)
      for (Int c = 0; c < pixel; c += 16) {
        if (write)
          __builtin_prefetch(pixels + i * row + j * pixel + c, 1, 3);
        else
          __builtin_prefetch(pixels + i * row + j * pixel + c, 0, 3);
      }
}

// Row `row` of the input tiles of the band's image `b`: each tile is met by the first part at its
// own column and, where there are two parts, by the second at the column before.
template <class T>
void tile_row_in(const TileBand& t, Int b, Int row) {
  const AttncConv& a = *t.a;
  const float* image = a.x + (t.image + b) * a.h * a.width * a.c;
  float* to = t.in + b * t.in_image() + row * t.in_row();
  const Int y = (t.top + row) * kTileOut - a.win.top, stride = t.in_point();
  for (Int tile = 0; tile < t.across + t.parts - 1; ++tile) {
    const Int x = tile * kTileOut - a.win.left;
    float* own = tile < t.across ? to + tile * a.c : nullptr;
    float* next = t.parts > 1 && tile > 0 ? to + t.in_part() + (tile - 1) * a.c : nullptr;
    const bool whole =
        y >= 0 && y + T::kSize <= a.h && x >= 0 && x + T::kSize <= a.width;
    Int c = 0;
    if (whole && x + T::kSize + kTileOut <= a.width)
      tile_ask<T::kSize, kTileOut>(image + (y * a.width + x + T::kSize) * a.c, a.width * a.c, a.c,
                                   false);
    for (; whole && c + W <= a.c; c += W)
      tile_in<T, true>(a, image + c, y, x, W, own ? own + c : own, stride, next ? next + c : next);
    for (; c < a.c; c += W)
      tile_in<T, false>(a, image + c, y, x, least(W, a.c - c), own ? own + c : own, stride,
                        next ? next + c : next);
  }
}

// The product at one point for all tiles of the band. The parts are added up one by one: shorter
// sums round less, and the transform back makes much of their rounding.
inline void tile_point(const TileBand& t, Int point, const Ahead& after) {
  const AttncConv& a = *t.a;
  const Int depth = t.parts * t.parts * a.c, panels = panels_of(a.n);
  const float inf = __builtin_inff();
  for (Int b = 0; b < t.images; ++b) {
    const float* in = t.in + point * t.in_point() + b * t.in_image();
    float* out = t.out + point * t.out_point() + b * t.out_image();
    for (Int part = 0; part < t.parts * t.parts; ++part) {
      const Int row = part / t.parts, column = part % t.parts;
      const Run run = {in + column * t.in_part() + row * t.in_row(), part * a.c * 16, a.c};
      const Gemm g = {&run,
                      1,
                      a.c,
                      a.w + point * panels * 16 * depth,
                      depth * 16,
                      16,
                      nullptr,
                      part ? out : nullptr,
                      t.width(),
                      out,
                      t.width(),
                      t.rows * t.across,
                      t.width(),
                      -inf,
                      inf};
      gemm(g, 0, panels, after);
    }
  }
}

template <class T>
inline void tile_out(const TileBand& t, const float* sums, Int rows, Int columns, Int n,
                     const float* bias, float* y) {
  const AttncConv& a = *t.a;
  const V lo = set1(a.lo), hi = set1(a.hi), start = bias ? load(bias) : set1(0.0f);
  V across[T::kSize][kTileOut];
  for (int p = 0; p < T::kSize; ++p) {
    V raw[T::kSize];
    ATTNC_UNROLL
    for (int q = 0; q < T::kSize; ++q) raw[q] = load(sums + (p * T::kSize + q) * t.out_point());
    ATTNC_UNROLL
    for (int j = 0; j < kTileOut; ++j) across[p][j] = tile_sum(T::kOut[j], raw);
  }
  for (int j = 0; j < columns; ++j) {
    V raw[T::kSize];
    ATTNC_UNROLL
    for (int p = 0; p < T::kSize; ++p) raw[p] = across[p][j];
    for (int i = 0; i < rows; ++i) {
      V v = set1(0.0f);
      switch (i) {  // the coefficients must be constants
        case 0: v = tile_sum(T::kOut[0], raw); break;
        case 1: v = tile_sum(T::kOut[1], raw); break;
        case 2: v = tile_sum(T::kOut[2], raw); break;
        default: v = tile_sum(T::kOut[3], raw);
      }
      v = vmin(hi, vmax(lo, add(v, start)));
      float* p = y + (i * a.ow + j) * a.n;
      if (n == W)
        store(p, v);
      else
        storen(p, v, n);
    }
  }
}

template <class T>
void tile_row_out(const TileBand& t, Int b, Int row) {
  const AttncConv& a = *t.a;
  const Int oy = (t.top + row) * kTileOut, rows = least(kTileOut, a.oh - oy);
  const float* sums = t.out + b * t.out_image() + row * t.out_row();
  float* y = a.y + ((t.image + b) * a.oh + oy) * a.ow * a.n;
  for (Int tile = 0; tile < t.across; ++tile, sums += t.width(), y += kTileOut * a.n) {
    if (rows == kTileOut && (tile + 2) * kTileOut <= a.ow)
      tile_ask<kTileOut, kTileOut>(y + kTileOut * a.n, a.ow * a.n, a.n, true);
    for (Int c = 0; c < a.n; c += W)
      tile_out<T>(t, sums + c, rows, least(kTileOut, a.ow - tile * kTileOut), least(W, a.n - c),
                  a.bias ? a.bias + c : nullptr, y + c);
  }
}

struct TilesTask {
  TileBand band;  // the whole work, or what a task copies its part from
  Slots slots;
  Int bands, in_size;  // tasks of an image, floats of a slot's `in`
};

template <class T>
void tiles_in_task(void* arg, size_t index) {
  const TileBand& t = ((TilesTask*)arg)->band;
  tile_row_in<T>(t, (Int)index / t.grid_rows(), (Int)index % t.grid_rows());
}

template <Int Points>
void tiles_point_task(void* arg, size_t index) {
  const TileBand& t = ((TilesTask*)arg)->band;
  const Int size = t.parts * t.parts * t.a->c * panels_of(t.a->n) * 16;
  Ahead after = no_hint();
  if ((Int)index + 1 < Points) after.add(t.a->w + ((Int)index + 1) * size, least(size, 65536));
  tile_point(t, (Int)index, after);
}

template <class T>
void tiles_out_task(void* arg, size_t index) {
  const TileBand& t = ((TilesTask*)arg)->band;
  tile_row_out<T>(t, (Int)index / t.rows, (Int)index % t.rows);
}

// A band of few tile rows through all three steps.
template <class T>
void tiles_band_task(void* arg, size_t index) {
  TilesTask& task = *(TilesTask*)arg;
  TileBand t = task.band;
  const Int slot = take_slot(&task.slots);
  Int end;
  t.image = (Int)index / task.bands;
  rows_of(t.rows, task.bands, (Int)index % task.bands, &t.top, &end);
  t.rows = end - t.top;
  t.in = task.slots.base + slot * task.slots.stride;
  t.out = t.in + task.in_size;
  for (Int row = 0; row < t.grid_rows(); ++row) tile_row_in<T>(t, 0, row);
  for (Int p = 0; p < T::kSize * T::kSize; ++p) tile_point(t, p, no_hint());
  for (Int row = 0; row < t.rows; ++row) tile_row_out<T>(t, 0, row);
  return_slot(&task.slots, slot);
}

constexpr Int kBandTiles = 48;             // enough rows for a product, little enough memory
constexpr Int kTilesSmall = 1 << 18;       // floats of weights that every band may read again
constexpr Int kTilesScratch = 4 << 20;     // floats that images may share where weights are larger

// Small weights: bands of tile rows, each of which reads all weights.
template <class T>
AttncStatus conv_tiles_by_band(const AttncHost* host, TilesTask task, Int points) {
  TileBand one = task.band;
  const Int down = one.rows, batch = one.images;
  task.bands = least(down, ceil_div(down * one.across, 2 * kBandTiles) * 2);
  task.band.images = one.images = 1;
  one.rows = ceil_div(down, task.bands);
  task.in_size = round16(points * one.in_point());
  task.slots.count = least(batch * task.bands, kMaxSlots);
  task.slots.stride = task.in_size + round16(points * one.out_point());
  task.slots.base = alloc_floats(host, task.slots.stride * task.slots.count);
  if (!task.slots.base) return kAttncNoMemory;
  host->parallel_for(host->user, (size_t)(batch * task.bands), tiles_band_task<T>, &task);
  host->free(host->user, task.slots.base);
  return kAttncOk;
}

// Large weights: all tiles of as many images as scratch allows, one point after the other.
template <class T>
AttncStatus conv_tiles_by_point(const AttncHost* host, TilesTask task, Int points) {
  TileBand& t = task.band;
  const Int batch = t.images;
  t.images = 1;
  const Int each = points * (t.in_point() + t.out_point());
  const Int together = least(batch, most(1, kTilesScratch / each));
  t.in = alloc_floats(host, together * each + 16);
  if (!t.in) return kAttncNoMemory;
  for (t.image = 0; t.image < batch; t.image += t.images) {
    t.images = least(together, batch - t.image);
    t.out = t.in + round16(points * t.in_point());
    const size_t rows = (size_t)(t.images * t.rows);
    host->parallel_for(host->user, (size_t)(t.images * t.grid_rows()), tiles_in_task<T>, &task);
    host->parallel_for(host->user, (size_t)points, tiles_point_task<T::kSize * T::kSize>, &task);
    host->parallel_for(host->user, rows, tiles_out_task<T>, &task);
  }
  host->free(host->user, t.in);
  return kAttncOk;
}

template <class T>
AttncStatus conv_tiles(const AttncHost* host, const AttncConv& a) {
  const Int parts = ceil_div(a.win.kh, T::kTaps), points = T::kSize * T::kSize;
  const Int across = ceil_div(a.ow, kTileOut), down = ceil_div(a.oh, kTileOut);
  if (a.batch * across * down == 0) return kAttncOk;
  TilesTask task = {{&a, parts, across, 0, a.batch, 0, down, nullptr, nullptr}, {}, 1, 0};
  const Int weights = points * parts * parts * a.c * task.band.width();
  const bool by_band = weights <= kTilesSmall || points * across * down * a.c > kTilesScratch;
  return by_band ? conv_tiles_by_band<T>(host, task, points)
                 : conv_tiles_by_point<T>(host, task, points);
}

// A square window of up to 8x8, stride and dilation of one; any pads. No residual.
AttncStatus conv_tiles_f32(const AttncHost* host, const AttncConv* a) {
  return a->win.kh <= 3 ? conv_tiles<Tiles3>(host, *a) : conv_tiles<Tiles4>(host, *a);
}
