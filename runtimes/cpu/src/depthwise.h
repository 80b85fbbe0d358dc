// Depthwise convolution: one vector of channels at a time, its weights in registers.

struct Dw {  // one vector of channels of one image; pixel strides in floats
  const float *x, *w, *bias;
  float* y;
  Int x_pixel, y_pixel, w_tap;  // w_tap: distance between taps of the weights
  Int h, width, oh, ow, lanes;
  AttncWindow win;
  float lo, hi;
  bool gelu;
};

template <int N>
ATTNC_INLINE void dw_activate(const Dw& d, V (&x)[N]) {
  ATTNC_UNROLL
  for (int i = 0; i < N; ++i) x[i] = vmin(set1(d.hi), vmax(set1(d.lo), x[i]));
  if (d.gelu) gelu_v(x);
}

template <bool Full>
inline V dw_load(const float* p, Int n) {
  if constexpr (Full)
    return load(p);
  else
    return loadn(p, n);
}

template <bool Full>
inline void dw_store(float* p, V v, Int n) {
  if constexpr (Full)
    store(p, v);
  else
    storen(p, v, n);
}

#include "depthwise_runs.h"

// Any window at any place, border included.
template <bool Full>
inline void dw_point(const Dw& d, Int oy, Int ox) {
  const AttncWindow& w = d.win;
  const Int iy = oy * w.stride_h - w.top, ix = ox * w.stride_w - w.left;
  const Taps ky = valid_taps(iy, w.kh, w.dilation_h, d.h);
  const Taps kx = valid_taps(ix, w.kw, w.dilation_w, d.width);
  V acc[1] = {load(d.bias)};
  for (Int y = ky.begin; y < ky.end; ++y)
    for (Int x = kx.begin; x < kx.end; ++x) {
      const Int at = (iy + y * w.dilation_h) * d.width + ix + x * w.dilation_w;
      acc[0] = fma(dw_load<Full>(d.x + at * d.x_pixel, d.lanes),
                   load(d.w + (y * w.kw + x) * d.w_tap), acc[0]);
    }
  dw_activate(d, acc);
  dw_store<Full>(d.y + (oy * d.ow + ox) * d.y_pixel, acc[0], d.lanes);
}

// Three input rows; one above or below the image is a vector of zeros that every pixel reads.
struct DwRows {
  const float* at[3];
  Int pixel[3];
};

// N neighbouring outputs of a 3x3 window of stride two: shared columns are loaded once. The first
// (Left) or the last (Right) column may be outside the image.
template <int N, bool Left, bool Right, bool Full>
ATTNC_INLINE void dw3x3(const Dw& d, const V* w, V bias, const DwRows& x, Int ix, float* y) {
  constexpr int kColumns = 2 * (N - 1) + 3;
  V acc[N];
  ATTNC_UNROLL
  for (int i = 0; i < N; ++i) acc[i] = bias;
  ATTNC_UNROLL
  for (int ky = 0; ky < 3; ++ky) {
    const float* row = x.at[ky] + ix * x.pixel[ky];
    ATTNC_UNROLL
    for (int col = 0; col < kColumns; ++col) {
      if ((Left && col == 0) || (Right && col == kColumns - 1)) continue;
      const V v = dw_load<Full>(row + col * x.pixel[ky], d.lanes);
      ATTNC_UNROLL
      for (int i = 0; i < N; ++i)
        if (col >= 2 * i && col < 2 * i + 3) acc[i] = fma(v, w[ky * 3 + col - 2 * i], acc[i]);
    }
  }
  dw_activate(d, acc);
  ATTNC_UNROLL
  for (int i = 0; i < N; ++i) dw_store<Full>(y + i * d.y_pixel, acc[i], d.lanes);
}

constexpr int kDwRun = W == 16 ? 4 : 2;  // outputs at a time: nine weights stay in registers

template <int N, bool Full>
ATTNC_INLINE void dw3x3_edges(const Dw& d, const V* w, V bias, const DwRows& x, Int ix, float* y) {
  const bool left = ix<0, right = ix + 2 * (N - 1) + 3> d.width;
  if (left && right)
    dw3x3<N, true, true, Full>(d, w, bias, x, ix, y);
  else if (left)
    dw3x3<N, true, false, Full>(d, w, bias, x, ix, y);
  else if (right)
    dw3x3<N, false, true, Full>(d, w, bias, x, ix, y);
  else
    dw3x3<N, false, false, Full>(d, w, bias, x, ix, y);
}

template <bool Full>
inline void dw3x3_rows(const Dw& d, Int begin, Int end) {
  alignas(64) const float zeros[W] = {};
  V w[9];
  ATTNC_UNROLL
  for (int i = 0; i < 9; ++i) w[i] = load(d.w + i * d.w_tap);
  const V bias = load(d.bias);
  for (Int oy = begin; oy < end; ++oy) {
    DwRows x;
    for (int k = 0; k < 3; ++k) {
      const Int iy = oy * 2 - d.win.top + k;
      const bool inside = iy >= 0 && iy < d.h;
      x.at[k] = inside ? d.x + iy * d.width * d.x_pixel : zeros;
      x.pixel[k] = inside ? d.x_pixel : 0;
    }
    float* y = d.y + oy * d.ow * d.y_pixel;
    for (Int ox = 0; ox < d.ow;) {
      const Int ix = ox * 2 - d.win.left, left = d.ow - ox;
      float* at = y + ox * d.y_pixel;
      if (left >= kDwRun) {
        dw3x3_edges<kDwRun, Full>(d, w, bias, x, ix, at);
        ox += kDwRun;
      } else if (kDwRun > 2 && left >= 2) {
        dw3x3_edges<2, Full>(d, w, bias, x, ix, at);
        ox += 2;
      } else {
        dw3x3_edges<1, Full>(d, w, bias, x, ix, at);
        ++ox;
      }
    }
  }
}

// A 3x3 window of stride two that is at most one column out of the image on either side.
inline bool dw_is_halving(const Dw& d) {
  const AttncWindow& w = d.win;
  return w.kh == 3 && w.kw == 3 && w.dilation_h == 1 && w.dilation_w == 1 && w.left <= 1 &&
         w.stride_h == 2 && w.stride_w == 2 && (d.ow - 1) * 2 - w.left + 3 <= d.width + 1;
}

template <bool Full>
inline void dw_rows(const Dw& d, Int begin, Int end) {
  if (dw_is_halving(d)) return dw3x3_rows<Full>(d, begin, end);
  for (Int oy = begin; oy < end; ++oy)
    for (Int ox = 0; ox < d.ow; ++ox) dw_point<Full>(d, oy, ox);
}

// `channels` channels (weights and bias padded to 16), output rows [begin, end).
inline void dw_channels(Dw d, Int channels, Int begin, Int end) {
  const Int width = dw_run_width(d.win);
  if (width == 3) return dw_run_channels<3>(d, channels, begin, end);
  if (width == 5) return dw_run_channels<5>(d, channels, begin, end);
  for (Int c = 0; c < channels; c += W) {
    d.lanes = least(W, channels - c);
    if (d.lanes == W)
      dw_rows<true>(d, begin, end);
    else
      dw_rows<false>(d, begin, end);
    d.x += W;
    d.y += W;
    d.w += W;
    d.bias += W;
  }
}

// The map, window and clamp of any arguments that have a depthwise convolution in them.
template <class Arguments>
inline Dw dw_over(const Arguments& a) {
  Dw d = {};
  d.h = a.h;
  d.width = a.width;
  d.oh = a.oh;
  d.ow = a.ow;
  d.win = a.win;
  d.lo = a.lo;
  d.hi = a.hi;
  return d;
}

constexpr Int kDwChannels = 64, kDwRowsOfTask = 14;

inline void depthwise_task(void* arg, size_t index) {
  const AttncDepthwise& a = *(const AttncDepthwise*)arg;
  const Int parts = ceil_div(a.c, kDwChannels), blocks = ceil_div(a.oh, kDwRowsOfTask);
  const Int b = (Int)index / blocks / parts, c = (Int)index / blocks % parts * kDwChannels;
  Int begin, end;
  rows_of(a.oh, blocks, (Int)index % blocks, &begin, &end);
  Dw d = dw_over(a);
  d.x = a.x + b * a.h * a.width * a.c + c;
  d.y = a.y + b * a.oh * a.ow * a.c + c;
  d.w = a.w + c;
  d.bias = a.bias + c;
  d.gelu = a.gelu != 0;
  d.x_pixel = d.y_pixel = a.c;
  d.w_tap = round16(a.c);
  dw_channels(d, least(kDwChannels, a.c - c), begin, end);
}

AttncStatus depthwise_f32(const AttncHost* host, const AttncDepthwise* a) {
  const Int tasks = a->batch * ceil_div(a->c, kDwChannels) * ceil_div(a->oh, kDwRowsOfTask);
  if (tasks > 0) host->parallel_for(host->user, (size_t)tasks, depthwise_task, (void*)a);
  return kAttncOk;
}
