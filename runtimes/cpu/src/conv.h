// Dense convolutions without im2col: every output row is a product whose A rows are the windows
// themselves. Windows that hang over the border are products with fewer runs, taken column-wise.

struct Taps {  // valid taps of a window position along one axis
  Int begin, end;
};

inline Taps valid_taps(Int start, Int taps, Int dilation, Int size) {
  Taps t = {start < 0 ? ceil_div(-start, dilation) : 0,
            start < size ? ceil_div(size - start, dilation) : 0};
  t.begin = least(t.begin, taps);
  t.end = most(t.begin, least(t.end, taps));
  return t;
}

struct ConvTask {
  const AttncConv* a;
  bool nchw;
  Int blocks, chunks, panels, depth;
};

constexpr Int kMaxRuns = 256;

// Runs of the window whose top left corner is (iy, ix) of image `x`, for the given taps.
inline Int conv_runs(const ConvTask& t, const float* x, Int iy, Int ix, Taps ky, Taps kx,
                     Run* runs) {
  const AttncConv& a = *t.a;
  const AttncWindow& w = a.win;
  Int n = 0;
  for (Int y = ky.begin; y < ky.end; ++y) {
    const Int row = (iy + y * w.dilation_h) * a.width + ix + kx.begin * w.dilation_w;
    const Int k = (y * w.kw + kx.begin) * a.c;
    const Int taps = kx.end - kx.begin, stretch = w.dilation_w == 1 ? taps : 1;
    for (Int i = 0; i < taps; i += stretch) {
      const Int pixel = row + i * w.dilation_w, depth = k + i * a.c;
      if (!t.nchw) runs[n++] = {x + pixel * a.c, depth * 16, stretch * a.c};
      for (Int c = 0; t.nchw && c < a.c; ++c)
        runs[n++] = {x + c * a.h * a.width + pixel, (depth + c) * 16, stretch};
    }
  }
  return n;
}

// `count` windows that share their valid taps, `step` input pixels and `out_step` output pixels
// apart, the first at output (b, oy, ox); panels [p, p + np).
inline void conv_line(const ConvTask& t, Int b, Int oy, Int ox, Int count, Int step, Int out_step,
                      Taps ky, Taps kx, Int p, Int np, Ahead* ahead, Int shares) {
  const AttncConv& a = *t.a;
  const AttncWindow& w = a.win;
  Run runs[kMaxRuns];
  const float* x = a.x + b * a.h * a.width * a.c;
  const Int out = ((b * a.oh + oy) * a.ow + ox) * a.n;
  Gemm g;
  g.nruns = conv_runs(t, x, oy * w.stride_h - w.top, ox * w.stride_w - w.left, ky, kx, runs);
  g.runs = runs;
  g.lda = t.nchw ? step : step * a.c;
  g.b = a.w;
  g.b_panel = t.depth * 16;
  g.b_k = t.nchw ? 16 * a.c : 16;
  g.bias = a.bias;
  g.residual = a.residual ? a.residual + out : nullptr;
  g.c = a.y + out;
  g.ldc = g.ldr = out_step * a.n;
  g.m = count;
  g.n = a.n;
  g.lo = a.lo;
  g.hi = a.hi;
  g.gelu = a.gelu != 0;
  g.pairs = t.nchw && g.lda == 2;
  g.store_ahead = t.nchw ? 3 * kMaxRows[0] : 0;
  gemm_group(g, p, np, ahead, shares);
}

// Output rows [begin, end) of image b, which all have the vertical taps ky.
inline void conv_band(const ConvTask& t, Int b, Int begin, Int end, Taps ky, Int p, Int np,
                      Ahead* ahead) {
  const AttncConv& a = *t.a;
  const AttncWindow& w = a.win;
  Ahead nothing = no_hint();
  for (Int ox = 0; ox < a.ow;) {
    const Taps kx = valid_taps(ox * w.stride_w - w.left, w.kw, w.dilation_w, a.width);
    if (kx.end - kx.begin < w.kw) {
      conv_line(t, b, begin, ox, end - begin, w.stride_h * a.width, a.ow, ky, kx, p, np, &nothing,
                1);
      ++ox;
      continue;
    }
    const Int span = a.width + w.left - (w.kw - 1) * w.dilation_w - 1;  // last full start
    const Int inner = least(a.ow, span / w.stride_w + 1) - ox;
    for (Int oy = begin; oy < end; ++oy)
      conv_line(t, b, oy, ox, inner, w.stride_w, 1, ky, kx, p, np, ahead, end - oy);
    ox += inner;
  }
}

// Parts [part, part + parts) of `of` of the input rows that the task after output row `row` will
// read first.
inline void add_input(const ConvTask& t, Int row, Int rows, Int part, Int parts, Int of,
                      Ahead* ahead) {
  const AttncConv& a = *t.a;
  const AttncWindow& w = a.win;
  if (row + rows > a.batch * a.oh || row % a.oh == 0) return;
  const Int first = row % a.oh * w.stride_h - w.top + w.kh - w.stride_h;
  const Int count = least(rows * w.stride_h, a.h - first) * a.width * (t.nchw ? 1 : a.c);
  const float* x = a.x + row / a.oh * a.h * a.width * a.c;
  for (Int c = 0; c < (t.nchw ? a.c : 1) && first >= 0 && count > 0; ++c, x += a.h * a.width)
    ahead->add(x + first * a.width * (t.nchw ? 1 : a.c) + count * part / of, count * parts / of);
}

inline void conv_task(void* arg, size_t index) {
  const ConvTask& t = *(const ConvTask*)arg;
  const AttncConv& a = *t.a;
  const AttncWindow& w = a.win;
  const Int chunk = (Int)index / t.blocks, block = (Int)index % t.blocks;
  const Int last = t.chunks == 1 ? t.panels : chunk_begin(t.panels, chunk + 1);
  Int begin, end;
  rows_of(a.batch * a.oh, t.blocks, block, &begin, &end);
  for (Int p = t.chunks == 1 ? 0 : chunk_begin(t.panels, chunk); p < last;) {
    const Int np = group_size(last - p);
    Ahead ahead = no_hint();
    if (t.chunks > 1)
      ahead.add(a.w + (p + np) * t.depth * 16, least(3, t.panels - p - np) * t.depth * 16);
    else
      add_input(t, end, end - begin, p, np, t.panels, &ahead);
    for (Int row = begin; row < end;) {
      const Int b = row / a.oh, oy = row % a.oh, stop = least(a.oh, oy + end - row);
      const Taps ky = valid_taps(oy * w.stride_h - w.top, w.kh, w.dilation_h, a.h);
      Int same = oy + 1;
      for (; same < stop; ++same) {
        const Taps k = valid_taps(same * w.stride_h - w.top, w.kh, w.dilation_h, a.h);
        if (k.begin != ky.begin || k.end != ky.end) break;
      }
      conv_band(t, b, oy, same, ky, p, np, &ahead);
      row += same - oy;
    }
    p += np;
  }
}

inline AttncStatus conv_any(const AttncHost* host, const AttncConv& a, bool nchw) {
  ConvTask t = {&a, nchw, 1, 1, panels_of(a.n), a.win.kh * a.win.kw * a.c};
  const Int rows = a.batch * a.oh;
  const Int runs = a.win.kh * (a.win.dilation_w == 1 ? 1 : a.win.kw) * (nchw ? a.c : 1);
  if (runs > kMaxRuns) return kAttncTooLarge;
  if (rows == 0 || a.ow == 0) return kAttncOk;
  const Int by_pixels = least(rows, most(8, rows * a.ow / 256));
  if (t.depth * 16 * t.panels * 4 <= kL2) {
    t.blocks = by_pixels;
  } else {
    t.chunks = chunk_count(t.panels);
    t.blocks = most(1, least(rows, rows * a.ow / 192));
  }
  host->parallel_for(host->user, (size_t)(t.blocks * t.chunks), conv_task, &t);
  return kAttncOk;
}

inline bool is_pointwise(const AttncConv& a) {
  const AttncWindow& w = a.win;
  return w.kh == 1 && w.kw == 1 && w.stride_h == 1 && w.stride_w == 1 &&
         w.top + w.left + w.bottom + w.right == 0;
}

AttncStatus stem_conv_f32(const AttncHost* host, const AttncConv* a) {
  return conv_any(host, *a, true);
}

AttncStatus conv_f32(const AttncHost* host, const AttncConv* a) {
  if (!is_pointwise(*a)) return conv_any(host, *a, false);
  const Run run = {a->x, 0, a->c};
  Gemm g = {&run,    1,           a->c, a->w, a->c * 16, 16,
            a->bias, a->residual, a->n, a->y, a->n,      a->batch * a->h * a->width,
            a->n,    a->lo,       a->hi};
  g.gelu = a->gelu != 0;
  if (g.m > 0) parallel_gemm(host, g, no_hint());
  return kAttncOk;
}
