// MSA-Conv's attention: one head over a window, keys and values read where the qkv product put
// them. The pixels of a row that are as far apart as the window's columns go together: a key is
// loaded once for those that see it, and the softmax runs over pixels in lanes.

struct WaTask {
  const AttncWindowAttention* a;
  const float* kv;     // a pixel's keys, then its values; rolled where a shift is asked for
  Int ld;              // floats from one pixel of kv to the next
  const float* zeros;  // what a pixel outside the map holds
  float* rolled;
  float* far;  // pooled keys and values [batch][cells][2c]
  Int cells, taps, blocks;
  Slots slots;
};

constexpr Int kWaPixels = 16;  // of a stretch, at most
constexpr Int kWaSums = 3 * kWaPixels * W;

// n pixels of row y of image b: x, x + dilation, ... `at` are the keys that they see, (n + kw - 1)
// of each row of the window in [begin, end). `logits` [block of W pixels][taps + cells][W].
struct WaStretch {
  const float* q;
  Int n, q_step, begin, end, seen, b, y, x, places;
  const float** at;
  float *logits, *sums;
};

// The dot products of P pixels with J places, as vectors still to be summed: sums[j][pixel][lane].
// Slides: pixel p meets key p + j, else key j.
template <int P, int J, bool Slides, bool Full>
ATTNC_INLINE void wa_step(V (&acc)[J][P], const float* q, Int q_step, const float* const* k, Int i,
                          Int n) {
  V pixel[P];
  ATTNC_UNROLL
  for (int p = 0; p < P; ++p) pixel[p] = dw_load<Full>(q + p * q_step + i, n);
  ATTNC_UNROLL
  for (int t = 0; t < (Slides ? P + J - 1 : J); ++t) {
    const V key = dw_load<Full>(k[t] + i, n);
    ATTNC_UNROLL
    for (int p = 0; p < P; ++p) {
      const int j = Slides ? t - p : t;
      if (j >= 0 && j < J) acc[j][p] = fma(pixel[p], key, acc[j][p]);
    }
  }
}

template <int P, int J, bool Slides>
void wa_dots(const float* q, Int q_step, const float* const* k, Int c, float* sums) {
  V acc[J][P];
  ATTNC_UNROLL
  for (int j = 0; j < J; ++j) ATTNC_UNROLL
  for (int p = 0; p < P; ++p) acc[j][p] = set1(0.0f);
  const float* key[P + J - 1];
  for (int t = 0; t < (Slides ? P + J - 1 : J); ++t) key[t] = k[t];
  Int i = 0;
  for (; i + W <= c; i += W) wa_step<P, J, Slides, true>(acc, q, q_step, key, i, W);
  if (i < c) wa_step<P, J, Slides, false>(acc, q, q_step, key, i, c - i);
  ATTNC_UNROLL
  for (int j = 0; j < J; ++j) ATTNC_UNROLL
  for (int p = 0; p < P; ++p) store(sums + (j * kWaPixels + p) * W, acc[j][p]);
}

typedef void (*WaDots)(const float*, Int, const float* const*, Int, float*);

// All pixels with `count` keys; the places of the logits from `first` on.
template <bool Slides>
inline void wa_logits(const WaStretch& k, const float* const* keys, Int count, Int c, float scale,
                      Int first) {
  static const WaDots kDots[3][3] = {
      {wa_dots<1, 1, Slides>, wa_dots<1, 2, Slides>, wa_dots<1, 3, Slides>},
      {wa_dots<2, 1, Slides>, wa_dots<2, 2, Slides>, wa_dots<2, 3, Slides>},
      {wa_dots<3, 1, Slides>, wa_dots<3, 2, Slides>, wa_dots<3, 3, Slides>}};
  const V factor = set1(scale);
  for (Int j = 0; j < count;) {
    const Int width = (count - j) / ceil_div(count - j, 3);
    for (Int p = 0; p < k.n;) {
      const Int height = (k.n - p) / ceil_div(k.n - p, 3);
      kDots[height - 1][width - 1](k.q + p * k.q_step, k.q_step, keys + j + (Slides ? p : 0), c,
                                   k.sums + p * W);
      p += height;
    }
    for (Int p = 0; p < k.n; p += W)
      for (Int i = 0; i < width; ++i)
        store(k.logits + p * k.places + (first + j + i) * W,
              mul(sum_each(k.sums + (i * kWaPixels + p) * W), factor));
    j += width;
  }
}

// Softmax of every pixel over its `count` places, in place.
inline void wa_softmax(float* logits, Int count) {
  V top = load(logits), total = set1(0.0f);
  for (Int t = 1; t < count; ++t) top = vmax(top, load(logits + t * W));
  for (Int t = 0; t < count; ++t) {
    const V e = exp_v(sub(load(logits + t * W), top));
    store(logits + t * W, e);
    total = add(total, e);
  }
  const V inverse = div(set1(1.0f), total);
  for (Int t = 0; t < count; ++t) store(logits + t * W, mul(load(logits + t * W), inverse));
}

template <int N, bool Full>
ATTNC_INLINE void wa_load(V (&x)[N], const float* value, Int lanes) {
  ATTNC_UNROLL
  for (int v = 0; v < N; ++v) x[v] = dw_load<Full>(value + v * W, lanes);
}

template <int N>
ATTNC_INLINE void wa_add(V (&acc)[N], const V (&x)[N], float weight) {
  const V w = set1(weight);
  ATTNC_UNROLL
  for (int v = 0; v < N; ++v) acc[v] = fma(w, x[v], acc[v]);
}

// The values of one row of the window: pixel p sees those from p on, weights w[place][pixel].
template <int P, int N, bool Full>
ATTNC_INLINE void wa_mix_row(V (&acc)[P][N], const float* const* at, Int from, const float* w,
                             Int taps, Int lanes) {
  V x[N];
  wa_load<N, Full>(x, at[0] + from, lanes);
  wa_add(acc[0], x, w[0]);
  for (Int u = 1; u < taps; ++u) {
    wa_load<N, Full>(x, at[u] + from, lanes);
    wa_add(acc[0], x, w[u * W]);
    if constexpr (P == 2) wa_add(acc[1], x, w[(u - 1) * W + 1]);
  }
  if constexpr (P == 2) {
    wa_load<N, Full>(x, at[taps] + from, lanes);
    wa_add(acc[1], x, w[(taps - 1) * W + 1]);
  }
}

// y = x + weighted values for pixels [p, p + P) and N vectors of channels from `i` on.
template <int P, int N, bool Full>
inline void wa_mix(const WaTask& t, const WaStretch& k, Int p, Int i) {
  const AttncWindowAttention& a = *t.a;
  const Int lanes = least(W, a.c - i), out = ((k.b * a.h + k.y) * a.width + k.x) * a.c + i;
  const Int step = a.dilation_w * a.c, taps = a.kw;
  const float* weights = k.logits + p / W * W * k.places + p % W;
  V acc[P][N];
  ATTNC_UNROLL
  for (int r = 0; r < P; ++r) ATTNC_UNROLL
  for (int v = 0; v < N; ++v)
    acc[r][v] = a.x ? dw_load<Full>(a.x + out + (p + r) * step + v * W, lanes) : set1(0.0f);
  for (Int row = k.begin; row < k.end; ++row)
    wa_mix_row<P, N, Full>(acc, k.at + row * k.seen + p, a.c + i, weights + row * taps * W, taps,
                           lanes);
  const float* cell = t.far + k.b * t.cells * 2 * a.c + a.c + i;
  const float* w = weights + t.taps * W;
  for (Int j = 0; j < t.cells; ++j, cell += 2 * a.c, w += W) {
    V x[N];
    wa_load<N, Full>(x, cell, lanes);
    ATTNC_UNROLL
    for (int r = 0; r < P; ++r) wa_add(acc[r], x, w[r]);
  }
  ATTNC_UNROLL
  for (int r = 0; r < P; ++r) ATTNC_UNROLL
  for (int v = 0; v < N; ++v) dw_store<Full>(a.y + out + (p + r) * step + v * W, acc[r][v], lanes);
}

template <int P>
inline void wa_channels(const WaTask& t, const WaStretch& k, Int p) {
  const Int c = t.a->c;
  Int i = 0;
  for (; i + 4 * W <= c; i += 4 * W) wa_mix<P, 4, true>(t, k, p, i);
  if (i + 2 * W <= c) {
    wa_mix<P, 2, true>(t, k, p, i);
    i += 2 * W;
  }
  for (; i + W <= c; i += W) wa_mix<P, 1, true>(t, k, p, i);
  if (i < c) wa_mix<P, 1, false>(t, k, p, i);
}

// Where the keys of the stretch are, and which rows of the window are inside the map.
inline void wa_look(const WaTask& t, WaStretch* k) {
  const AttncWindowAttention& a = *t.a;
  const Int top = k->y - a.dilation_h * (a.kh - 1) / 2, left = k->x - a.dilation_w * (a.kw - 1) / 2;
  const Taps rows = valid_taps(top, a.kh, a.dilation_h, a.h);
  k->begin = rows.begin;
  k->end = rows.end;
  k->seen = k->n + a.kw - 1;
  for (Int i = k->begin; i < k->end; ++i) {
    const Int row = (k->b * a.h + top + i * a.dilation_h) * a.width;
    for (Int u = 0; u < k->seen; ++u) {
      const Int x = left + u * a.dilation_w;
      k->at[i * k->seen + u] = x >= 0 && x < a.width ? t.kv + (row + x) * t.ld : t.zeros;
    }
  }
}

inline void wa_stretch(const WaTask& t, WaStretch* k) {
  const AttncWindowAttention& a = *t.a;
  wa_look(t, k);
  for (Int i = 0; i < a.kh; ++i) {
    if (i >= k->begin && i < k->end) {
      wa_logits<true>(*k, k->at + i * k->seen, a.kw, a.c, a.scale, i * a.kw);
      continue;
    }
    for (Int p = 0; p < k->n; p += W)
      for (Int j = 0; j < a.kw; ++j)
        store(k->logits + p * k->places + (i * a.kw + j) * W, set1(0.0f));
  }
  const float* cells[3];
  for (Int first = 0; first < t.cells; first += 3) {
    const Int count = least(3, t.cells - first);
    for (Int i = 0; i < count; ++i) cells[i] = t.far + (k->b * t.cells + first + i) * 2 * a.c;
    wa_logits<false>(*k, cells, count, a.c, a.scale, t.taps + first);
  }
  for (Int p = 0; p < k->n; p += W) wa_softmax(k->logits + p * k->places, k->places);
  Int p = 0;
  for (; p + 2 <= k->n; p += 2) wa_channels<2>(t, *k, p);
  if (p < k->n) wa_channels<1>(t, *k, p);
}

// Output rows of all images, cut evenly.
inline void wa_task(void* arg, size_t index) {
  WaTask& t = *(WaTask*)arg;
  const AttncWindowAttention& a = *t.a;
  Int begin, end;
  rows_of(a.batch * a.h, t.blocks, (Int)index, &begin, &end);
  const Int slot = take_slot(&t.slots);
  WaStretch k = {};
  k.places = t.taps + t.cells;
  k.sums = t.slots.base + slot * t.slots.stride;
  k.logits = k.sums + kWaSums;
  k.at = (const float**)(k.logits + kWaPixels * k.places);
  k.q_step = a.dilation_w * 3 * a.c;
  for (Int i = 0; i < kWaSums; ++i) k.sums[i] = 0;  // the pixels that a short block lacks
  for (Int residue = 0; residue < least(a.dilation_w, a.width); ++residue) {
    const Int pixels = ceil_div(a.width - residue, a.dilation_w);
    for (Int p = 0; p < pixels; p += kWaPixels) {
      k.n = least(kWaPixels, pixels - p);
      k.x = residue + p * a.dilation_w;
      for (Int row = begin; row < end; ++row) {  // downwards: a stretch's keys stay in cache
        k.b = row / a.h;
        k.y = row % a.h;
        k.q = a.qkv + (row * a.width + k.x) * 3 * a.c;
        wa_stretch(t, &k);
      }
    }
  }
  return_slot(&t.slots, slot);
}

inline void wa_copy(float* to, const float* from, Int n) {
  if (n < W) {
    for (Int i = 0; i < n; ++i) to[i] = from[i];
    return;
  }
  for (Int i = 0; i + W < n; i += W) store(to + i, load(from + i));
  store(to + n - W, load(from + n - W));  // overlaps: a masked store would be slow
}

// One row of keys and values whose four groups of channels come from above, below, right and left.
inline void wa_roll_task(void* arg, size_t index) {
  const WaTask& t = *(const WaTask*)arg;
  const AttncWindowAttention& a = *t.a;
  const Int b = (Int)index / a.h, y = (Int)index % a.h, image = b * a.h * a.width;
  const Int down = a.shift % a.h, across = a.shift % a.width;
  Int first = 0;
  for (Int g = 0; g < 4; ++g) {
    const Int n = a.c / 4 + (g < a.c % 4 ? 1 : 0);
    const Int from_y = g == 0 ? (y + down) % a.h : g == 1 ? (y + a.h - down) % a.h : y;
    const Int move = g == 2 ? across : g == 3 ? a.width - across : 0;
    for (Int x = 0; x < a.width; ++x) {
      const Int from_x = x + move < a.width ? x + move : x + move - a.width;
      const float* from = a.qkv + (image + from_y * a.width + from_x) * 3 * a.c + a.c + first;
      float* to = t.rolled + ((Int)index * a.width + x) * 2 * a.c + first;
      wa_copy(to, from, n);
      wa_copy(to + a.c, from + a.c, n);
    }
    first += n;
  }
}

// The mean of one cell's keys and values, which are neighbours in memory.
inline void wa_pool_task(void* arg, size_t index) {
  const WaTask& t = *(const WaTask*)arg;
  const AttncWindowAttention& a = *t.a;
  const Int b = (Int)index / t.cells, i = (Int)index % t.cells / a.pool_w;
  const Int j = (Int)index % a.pool_w, n = 2 * a.c;
  const Int top = i * a.h / a.pool_h, bottom = ceil_div((i + 1) * a.h, a.pool_h);
  const Int left = j * a.width / a.pool_w, right = ceil_div((j + 1) * a.width, a.pool_w);
  const V scale = set1(1.0f / (float)((bottom - top) * (right - left)));
  for (Int c = 0; c < n; c += W) {
    const Int lanes = least(W, n - c);
    V total = set1(0.0f);
    for (Int y = top; y < bottom; ++y) {
      const float* row = a.qkv + ((b * a.h + y) * a.width + left) * 3 * a.c + a.c + c;
      for (Int x = left; x < right; ++x, row += 3 * a.c)
        total = add(total, lanes == W ? load(row) : loadn(row, lanes));
    }
    storen(t.far + (Int)index * n + c, mul(total, scale), lanes);
  }
}

AttncStatus window_attention_f32(const AttncHost* host, const AttncWindowAttention* a) {
  const Int rows = a->batch * a->h, pixels = rows * a->width;
  if (pixels * a->c == 0) return kAttncOk;
  WaTask t = {};
  t.a = a;
  t.taps = a->kh * a->kw;
  t.cells = a->pool_h * a->pool_w;
  t.blocks = least(rows, most(8, pixels / 512));
  t.slots.count = least(t.blocks, kMaxSlots);
  const Int pointers = a->kh * (kWaPixels + a->kw - 1) * (Int)(sizeof(float*) / sizeof(float));
  t.slots.stride = round16(kWaSums + kWaPixels * (t.taps + t.cells) + pointers);
  const Int rolled = a->shift ? round16(pixels * 2 * a->c) : 0;
  const Int far = round16(a->batch * t.cells * 2 * a->c), zeros = round16(2 * a->c);
  float* scratch = alloc_floats(host, zeros + rolled + far + t.slots.stride * t.slots.count);
  if (!scratch) return kAttncNoMemory;
  for (Int i = 0; i < zeros; ++i) scratch[i] = 0;
  t.zeros = scratch;
  t.rolled = scratch + zeros;
  t.far = t.rolled + rolled;
  t.slots.base = t.far + far;
  t.kv = a->shift ? t.rolled : a->qkv + a->c;
  t.ld = a->shift ? 2 * a->c : 3 * a->c;
  if (a->shift) host->parallel_for(host->user, (size_t)rows, wa_roll_task, &t);
  if (t.cells) host->parallel_for(host->user, (size_t)(a->batch * t.cells), wa_pool_task, &t);
  host->parallel_for(host->user, (size_t)t.blocks, wa_task, &t);
  host->free(host->user, scratch);
  return kAttncOk;
}
