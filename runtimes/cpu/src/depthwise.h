// Depthwise convolution: one vector of channels at a time, its weights in registers.

struct Dw {  // one vector of channels of one image; pixel strides in floats
  const float *x, *w, *bias;
  float* y;
  Int x_pixel, y_pixel, w_tap;  // w_tap: distance between taps of the weights
  Int h, width, oh, ow, lanes;
  AttncWindow win;
  float lo, hi;
};

template <bool Full>
inline V dw_load(const float* p, Int n) {
  if constexpr (Full) return load(p); else return loadn(p, n);
}

template <bool Full>
inline void dw_store(float* p, V v, Int n) {
  if constexpr (Full) store(p, v); else storen(p, v, n);
}

// Any window at any place, border included.
template <bool Full>
inline void dw_point(const Dw& d, Int oy, Int ox) {
  const AttncWindow& w = d.win;
  const Int iy = oy * w.stride_h - w.top, ix = ox * w.stride_w - w.left;
  const Taps ky = valid_taps(iy, w.kh, w.dilation_h, d.h);
  const Taps kx = valid_taps(ix, w.kw, w.dilation_w, d.width);
  V acc = load(d.bias);
  for (Int y = ky.begin; y < ky.end; ++y)
    for (Int x = kx.begin; x < kx.end; ++x) {
      const Int at = (iy + y * w.dilation_h) * d.width + ix + x * w.dilation_w;
      acc = fma(dw_load<Full>(d.x + at * d.x_pixel, d.lanes), load(d.w + (y * w.kw + x) * d.w_tap), acc);
    }
  acc = vmin(set1(d.hi), vmax(set1(d.lo), acc));
  dw_store<Full>(d.y + (oy * d.ow + ox) * d.y_pixel, acc, d.lanes);
}

// N neighbouring outputs of a full 3x3 window of stride S: shared columns are loaded once.
template <int S, int N, bool Full>
inline __attribute__((always_inline)) void dw3x3(const Dw& d, const V* w, V bias, const float* x, float* y) {
  V acc[N];
  for (int i = 0; i < N; ++i) acc[i] = bias;
  const Int row = d.width * d.x_pixel;
  for (int ky = 0; ky < 3; ++ky)
    for (int col = 0; col < S * (N - 1) + 3; ++col) {
      const V v = dw_load<Full>(x + ky * row + col * d.x_pixel, d.lanes);
      for (int i = 0; i < N; ++i)
        if (col >= S * i && col < S * i + 3) acc[i] = fma(v, w[ky * 3 + col - S * i], acc[i]);
    }
  for (int i = 0; i < N; ++i)
    dw_store<Full>(y + i * d.y_pixel, vmin(set1(d.hi), vmax(set1(d.lo), acc[i])), d.lanes);
}

template <int S, bool Full>
inline void dw3x3_row(const Dw& d, Int oy, Int begin, Int end) {
  constexpr int N = W == 16 ? 4 : 2;
  V w[9];
  for (int i = 0; i < 9; ++i) w[i] = load(d.w + i * d.w_tap);
  const V bias = load(d.bias);
  const Int iy = oy * S - d.win.top;
  for (Int ox = begin; ox < end;) {
    const float* x = d.x + (iy * d.width + ox * S - d.win.left) * d.x_pixel;
    float* y = d.y + (oy * d.ow + ox) * d.y_pixel;
    if (ox + N <= end) {
      dw3x3<S, N, Full>(d, w, bias, x, y);
      ox += N;
    } else {
      dw3x3<S, 1, Full>(d, w, bias, x, y);
      ++ox;
    }
  }
}

template <bool Full>
inline void dw_rows(const Dw& d, Int begin, Int end) {
  const AttncWindow& w = d.win;
  const bool fast = w.kh == 3 && w.kw == 3 && w.dilation_h == 1 && w.dilation_w == 1 &&
                    w.stride_h == w.stride_w && w.stride_h <= 2;
  const Int first = least(d.ow, ceil_div(w.left, w.stride_w));
  const Int inner = (d.width + w.left - w.kw) / w.stride_w + 1;
  const Int last = fast && d.width + w.left >= w.kw ? most(first, least(d.ow, inner)) : first;
  for (Int oy = begin; oy < end; ++oy) {
    const Int iy = oy * w.stride_h - w.top;
    const bool whole = fast && iy >= 0 && iy + 3 <= d.h;
    for (Int ox = 0; ox < (whole ? first : d.ow); ++ox) dw_point<Full>(d, oy, ox);
    if (!whole) continue;
    if (w.stride_h == 1) dw3x3_row<1, Full>(d, oy, first, last);
    else dw3x3_row<2, Full>(d, oy, first, last);
    for (Int ox = last; ox < d.ow; ++ox) dw_point<Full>(d, oy, ox);
  }
}

// `channels` channels (weights and bias padded to 16), output rows [begin, end).
inline void dw_channels(Dw d, Int channels, Int begin, Int end) {
  for (Int c = 0; c < channels; c += W) {
    d.lanes = least(W, channels - c);
    if (d.lanes == W) dw_rows<true>(d, begin, end);
    else dw_rows<false>(d, begin, end);
    d.x += W;
    d.y += W;
    d.w += W;
    d.bias += W;
  }
}

constexpr Int kDwChannels = 64;  // of a task

inline void depthwise_task(void* arg, size_t index) {
  const AttncDepthwise& a = *(const AttncDepthwise*)arg;
  const Int parts = ceil_div(a.c, kDwChannels);
  const Int b = (Int)index / parts, c = (Int)index % parts * kDwChannels;
  Dw d;
  d.x = a.x + b * a.h * a.width * a.c + c;
  d.y = a.y + b * a.oh * a.ow * a.c + c;
  d.w = a.w + c;
  d.bias = a.bias + c;
  d.x_pixel = d.y_pixel = a.c;
  d.w_tap = round16(a.c);
  d.h = a.h;
  d.width = a.width;
  d.oh = a.oh;
  d.ow = a.ow;
  d.win = a.win;
  d.lo = a.lo;
  d.hi = a.hi;
  dw_channels(d, least(kDwChannels, a.c - c), 0, a.oh);
}

AttncStatus depthwise_f32(const AttncHost* host, const AttncDepthwise* a) {
  const Int tasks = a->batch * ceil_div(a->c, kDwChannels);
  if (tasks > 0) host->parallel_for(host->user, (size_t)tasks, depthwise_task, (void*)a);
  return kAttncOk;
}
