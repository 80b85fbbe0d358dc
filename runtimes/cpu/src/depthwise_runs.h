// Depthwise windows of stride one: up to eight neighbouring outputs at a time, so that a column of
// the input is loaded once for all outputs that it reaches, and enough sums are under way to hide
// the latency of a multiply-add.

constexpr int kDwRunMost = 8;
// Channels that fill no vector are few; rows of up to eight are one run, at both edges. Runs that
// this leaves out are not made: they were a tenth of the library.
constexpr int kDwRunPartial = 4, kDwRunInner = 4;
alignas(64) constexpr float kDwZeros[16] = {};  // a pixel outside the image

// N outputs from column ox on, into y; the window's first row is iy and its rows `ky` are inside.
// `Edge`: some of its columns may be outside.
template <int K, int N, bool Edge, bool Full>
void dw_run(const Dw& d, Taps ky, Int iy, Int ox, float* out) {
  const Int ix = ox - d.win.left;
  const V bias = load(d.bias);
  V acc[N];
  ATTNC_UNROLL
  for (int i = 0; i < N; ++i) acc[i] = bias;
  for (Int y = ky.begin; y < ky.end; ++y) {
    const float* row = d.x + ((iy + y) * d.width + ix) * d.x_pixel;
    V w[K];
    ATTNC_UNROLL
    for (int k = 0; k < K; ++k) w[k] = load(d.w + (y * K + k) * d.w_tap);
    ATTNC_UNROLL
    for (int col = 0; col < N + K - 1; ++col) {
      const bool inside = !Edge || (ix + col >= 0 && ix + col < d.width);
      const V v = dw_load<Full>(inside ? row + col * d.x_pixel : kDwZeros, d.lanes);
      ATTNC_UNROLL
      for (int i = 0; i < N; ++i)
        if (col >= i && col < i + K) acc[i] = fma(v, w[col - i], acc[i]);
    }
  }
  dw_activate(d, acc);
  ATTNC_UNROLL
  for (int i = 0; i < N; ++i) dw_store<Full>(out + i * d.y_pixel, acc[i], d.lanes);
}

typedef void (*DwRun)(const Dw&, Taps, Int, Int, float*);

template <int K, bool Full, int N>
inline DwRun pick_dw_run(Int n, bool edge) {
  if constexpr (N > 1) {
    if (n != N) return pick_dw_run<K, Full, N - 1>(n, edge);
  }
  if constexpr (Full && N >= kDwRunInner) {
    if (!edge) return dw_run<K, N, false, Full>;
  }
  return dw_run<K, N, true, Full>;
}

// Asks for what the next row of outputs adds to the input, and for where it goes: a slice of the
// channels of neighbouring pixels is no stream that the processor would see by itself.
inline void dw_ask(const Dw& d, Int row, Int from, Int n, const float* y) {
  if (row >= d.h) return;
  const float* x = d.x + (row * d.width + from) * d.x_pixel;
  for (Int i = 0; i < least(n, d.width - from); ++i) __builtin_prefetch(x + i * d.x_pixel, 0, 3);
  for (Int i = 0; i < n; ++i) __builtin_prefetch(y + i * d.y_pixel, 1, 3);
}

// One row of one vector of channels, cut into runs of about the same length.
template <int K, bool Full>
inline void dw_row(const Dw& d, Int oy, bool ahead) {
  constexpr int kMost = Full ? kDwRunMost : kDwRunPartial;
  const Int iy = oy - d.win.top, runs = ceil_div(d.ow, kMost);
  const Taps ky = valid_taps(iy, K, 1, d.h);
  float* y = d.y + oy * d.ow * d.y_pixel;
  for (Int r = 0; r < runs; ++r) {
    const Int begin = d.ow * r / runs, n = d.ow * (r + 1) / runs - begin;
    const Int ix = begin - d.win.left;
    const bool edge = ix < 0 || ix + n + K - 1 > d.width;
    if (ahead) dw_ask(d, iy + K, begin, n, y + (d.ow + begin) * d.y_pixel);
    pick_dw_run<K, Full, kMost>(n, edge)(d, ky, iy, begin, y + begin * d.y_pixel);
  }
}

// Row by row, so that the channels of a pixel are read while their cache lines are at hand.
template <int K>
inline void dw_run_channels(const Dw& whole, Int channels, Int begin, Int end) {
  for (Int oy = begin; oy < end; ++oy) {
    Dw d = whole;
    for (Int c = 0; c < channels; c += W) {
      d.lanes = least(W, channels - c);
      const bool ahead = c % 16 == 0 && oy + 1 < end;  // a line of 16 channels at a time
      if (d.lanes == W)
        dw_row<K, true>(d, oy, ahead);
      else
        dw_row<K, false>(d, oy, ahead);
      d.x += W;
      d.y += W;
      d.w += W;
      d.bias += W;
    }
  }
}

// The width of a square window of stride one that runs are made for, else 0.
inline Int dw_run_width(const AttncWindow& w) {
  const bool plain = w.kh == w.kw && w.stride_h == 1 && w.stride_w == 1 && w.dilation_h == 1 &&
                     w.dilation_w == 1;
  return plain && (w.kh == 3 || w.kh == 5) ? w.kh : 0;
}
