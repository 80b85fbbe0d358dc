// 3x3 convolutions of stride two with 25 products per 2x2 outputs instead of 36.
//
// Along one axis two neighbouring outputs need the pixels a b c d e (from -1 on) and, in full, six
// products: y0 = w0 a + w1 b + w2 c, y1 = w0 c + w1 d + w2 e. With m = (w0 + w2) c they need five:
// y0 = w0 (a - c) + w1 b + m, y1 = w1 d + w2 (e - c) + m. Done along both axes, the sums over taps
// and channels are nine matrix products whose rows are the 2x2 tiles; each output adds four of them.

constexpr Int kForms = 5;     // a - c, b, d, e - c, c
constexpr Int kSums = 3;      // first output, second output, what both share
constexpr Int kTileRows = 4;  // rows of G: w0, w1, w2, w0 + w2
// Of each sum: where its forms begin, how many there are, and the row of G of the first.
constexpr Int kFirstForm[kSums] = {0, 2, 4}, kFormCount[kSums] = {2, 2, 1};
constexpr Int kFirstTap[kSums] = {0, 1, 3};

struct Stride2Task {
  const AttncConv* a;
  Int across, down, each, blocks;  // tiles of a row, tile rows of all images, of a task, tasks
  Slots slots;
};

// The five pixels of one axis in their forms.
ATTNC_INLINE void stride2_forms(const V (&in)[5], V (&out)[5]) {
  out[0] = sub(in[0], in[2]);
  out[1] = in[1];
  out[2] = in[3];
  out[3] = sub(in[4], in[2]);
  out[4] = in[2];
}

// Up to a vector of channels of one tile; out[form of y][tile][form of x][c]. `Whole`: the tile lies
// inside the map and n is a full vector.
template <bool Whole>
inline void stride2_tile_in(const AttncConv& a, const float* x, Int top, Int left, Int n,
                            float* out, Int plane) {
  V rows[5][5];
  ATTNC_UNROLL
  for (int i = 0; i < 5; ++i) {
    V raw[5];
    const Int y = top + i;
    ATTNC_UNROLL
    for (int j = 0; j < 5; ++j) {
      const Int at = left + j;
      const Int offset = (y * a.width + at) * a.c;
      if constexpr (Whole) {
        raw[j] = load(x + offset);
      } else {
        const bool inside = y >= 0 && y < a.h && at >= 0 && at < a.width;
        raw[j] = inside ? loadn(x + offset, n) : set1(0.0f);
      }
    }
    stride2_forms(raw, rows[i]);
  }
  ATTNC_UNROLL
  for (int j = 0; j < kForms; ++j) {
    const V column[5] = {rows[0][j], rows[1][j], rows[2][j], rows[3][j], rows[4][j]};
    V forms[5];
    stride2_forms(column, forms);
    ATTNC_UNROLL
    for (int i = 0; i < kForms; ++i) {
      if constexpr (Whole) store(out + i * plane + j * a.c, forms[i]);
      else storen(out + i * plane + j * a.c, forms[i], n);
    }
  }
}

// Tile rows [begin, end) in all their forms.
inline void stride2_input(const Stride2Task& t, Int begin, Int end, float* forms, Int plane) {
  const AttncConv& a = *t.a;
  const Int per_image = ceil_div(a.oh, 2);
  for (Int row = begin; row < end; ++row) {
    const float* x = a.x + row / per_image * a.h * a.width * a.c;
    const Int top = row % per_image * 4 - 1;
    for (Int tile = 0; tile < t.across; ++tile, forms += kForms * a.c) {
      const Int left = tile * 4 - 1;
      const bool inside = top >= 0 && top + 5 <= a.h && left >= 0 && left + 5 <= a.width;
      Int c = 0;
      for (; inside && c + W <= a.c; c += W)
        stride2_tile_in<true>(a, x + c, top, left, W, forms + c, plane);
      for (; c < a.c; c += W)
        stride2_tile_in<false>(a, x + c, top, left, least(W, a.c - c), forms + c, plane);
    }
  }
}

// The product of sums (sy, sx) for all tiles and the panels [p, p + np), into `sums` [tile][np*16].
inline void stride2_product(const Stride2Task& t, Int sy, Int sx, Int tiles, const float* forms,
                            Int plane, Int p, Int np, float* sums, Ahead* ahead) {
  const AttncConv& a = *t.a;
  Run runs[2];
  for (Int i = 0; i < kFormCount[sy]; ++i) {
    const Int row = (kFirstTap[sy] + i) * kTileRows + kFirstTap[sx];
    runs[i] = {forms + (kFirstForm[sy] + i) * plane + kFirstForm[sx] * a.c, row * a.c * 16,
               kFormCount[sx] * a.c};
  }
  const float inf = __builtin_inff();
  const bool shared = sy == 2 && sx == 2;
  const Int depth = kTileRows * kTileRows * a.c * 16;
  const Gemm g = {runs, kFormCount[sy], kForms * a.c, a.w + p * depth, depth, 16,
                  shared ? a.bias + p * 16 : nullptr, nullptr, 0, sums, np * 16, tiles, np * 16,
                  -inf, inf};
  gemm_group(g, 0, np, ahead, kSums * kSums - sy * kSums - sx);
}

// One vector of channels of one tile: four outputs from nine sums.
template <bool Whole>
inline void stride2_tile_out(const AttncConv& a, const float* sums, Int plane, float* y, Int rows,
                             Int columns, Int n) {
  const V lo = set1(a.lo), hi = set1(a.hi);
  V across[kSums][2];
  ATTNC_UNROLL
  for (int i = 0; i < kSums; ++i) {
    const float* s = sums + i * kSums * plane;
    const V both = load(s + 2 * plane);
    across[i][0] = add(load(s), both);
    across[i][1] = add(load(s + plane), both);
  }
  ATTNC_UNROLL
  for (int i = 0; i < 2; ++i) {
    ATTNC_UNROLL
    for (int j = 0; j < 2; ++j) {
      const V v = vmin(hi, vmax(lo, add(across[i][j], across[2][j])));
      float* p = y + (i * a.ow + j) * a.n;
      if constexpr (Whole) store(p, v);
      else if (i < rows && j < columns) storen(p, v, n);
    }
  }
}

inline void stride2_output(const Stride2Task& t, Int begin, Int end, const float* sums, Int plane,
                           Int p, Int np) {
  const AttncConv& a = *t.a;
  const Int per_image = ceil_div(a.oh, 2), stop = least(np * 16, a.n - p * 16);
  for (Int row = begin; row < end; ++row) {
    const Int oy = row % per_image * 2, rows = least(2, a.oh - oy);
    float* y = a.y + (row / per_image * a.oh + oy) * a.ow * a.n + p * 16;
    for (Int tile = 0; tile < t.across; ++tile, sums += np * 16) {
      const Int columns = least(2, a.ow - tile * 2);
      float* at = y + tile * 2 * a.n;
      Int c = 0;
      for (; rows + columns == 4 && c + W <= stop; c += W)
        stride2_tile_out<true>(a, sums + c, plane, at + c, 2, 2, W);
      for (; c < stop; c += W)
        stride2_tile_out<false>(a, sums + c, plane, at + c, rows, columns, least(W, stop - c));
    }
  }
}

inline void stride2_task(void* arg, size_t index) {
  Stride2Task& t = *(Stride2Task*)arg;
  const AttncConv& a = *t.a;
  const Int begin = (Int)index * t.each, end = least(t.down, begin + t.each);
  const Int tiles = (end - begin) * t.across, panels = panels_of(a.n);
  const Int slot = take_slot(&t.slots), plane = round16(tiles * kForms * a.c);
  float* forms = t.slots.base + slot * t.slots.stride;
  float* sums = forms + kForms * plane;
  stride2_input(t, begin, end, forms, plane);
  for (Int p = 0; p < panels;) {
    const Int np = group_size(panels - p), q = p + np, depth = kTileRows * kTileRows * a.c * 16;
    Ahead ahead = no_hint();
    ahead.add(a.w + q * depth, least(group_size(panels - q), panels - q) * depth);
    for (Int s = 0; s < kSums * kSums; ++s)
      stride2_product(t, s / kSums, s % kSums, tiles, forms, plane, p, np,
                      sums + s * tiles * np * 16, &ahead);
    stride2_output(t, begin, end, sums, tiles * np * 16, p, np);
    p = q;
  }
  return_slot(&t.slots, slot);
}

constexpr Int kStride2Tiles = 32;  // of a task: enough rows for the products, little enough memory

// Pads of one on every side; `win` is not read.
AttncStatus conv_stride2_f32(const AttncHost* host, const AttncConv* a) {
  Stride2Task t = {a, ceil_div(a->ow, 2), a->batch * ceil_div(a->oh, 2), 1, 0, {nullptr, 0, 1, 0}};
  if (t.down == 0 || t.across == 0) return kAttncOk;
  t.each = most(1, kStride2Tiles / t.across);
  t.blocks = ceil_div(t.down, t.each);
  const Int tiles = t.each * t.across;
  t.slots.count = least(t.blocks, kMaxSlots);
  t.slots.stride = kForms * round16(tiles * kForms * a->c) + kSums * kSums * tiles * 16 * kMaxPanels;
  t.slots.base = alloc_floats(host, t.slots.stride * t.slots.count);
  if (!t.slots.base) return kAttncNoMemory;
  host->parallel_for(host->user, (size_t)t.blocks, stride2_task, &t);
  host->free(host->user, t.slots.base);
  return kAttncOk;
}
