// WindowAttention: MSA-Conv's attention over a window (arXiv 2310.04134), channels last; with
// pooled keys, which every block averages for itself, and with a residual, or without.
//
// Bound by reads of neighbours, mostly from the L1; with pooled keys by reading all keys and values
// of an image from the L2 in each block, which is why there are about 32 blocks and no more.
#pragma once
#include "pool.cuh"

namespace attnc {

constexpr int kWindowThreads = 128;  // without pooled keys
constexpr int kPooledThreads = 512;
constexpr int kWindowChunk = 32;  // channels at a time
constexpr int kWindowPitch = kWindowChunk + 4;
constexpr int kPartLanes = 8;  // have a chunk, four channels each
constexpr int kParts = kLanes / kPartLanes;

struct WindowSizes {
  int height, width, channels, rows, columns, row_step, column_step, shift, grid_rows, grid_columns;
  int pixels;  // of a block
  float scale;

  __device__ int cells() const { return grid_rows * grid_columns; }
  __device__ int window() const { return rows * columns; }
  __device__ int places() const { return window() + cells(); }
};

__device__ __forceinline__ int positive_mod(int a, int n) { return (a % n + n) % n; }

// One of k and v, a quarter of the channels each rolled up, down, left and right.
template <class T>
struct Rolled {
  const T* base;
  int height, width, channels, pitch, down, right, second, third, fourth;
  bool fours;  // neighbours move the same way and can be read together

  __device__ Rolled(const T* from, const WindowSizes& n) : base(from) {
    height = n.height, width = n.width, channels = n.channels, pitch = 3 * n.channels;
    down = positive_mod(n.shift, height), right = positive_mod(n.shift, width);
    const int quarter = channels / 4, more = channels % 4;
    second = quarter + min(1, more);
    third = 2 * quarter + min(2, more);
    fourth = 3 * quarter + more;
    fours = by_fours(base, pitch, channels) && (n.shift == 0 || channels % 16 == 0);
  }

  // Where channel c of pixel (y, x) comes from.
  __device__ const T* pixel(int y, int x, int c) const {
    if (c < second) {
      y = y + down < height ? y + down : y + down - height;
    } else if (c < third) {
      y = y >= down ? y - down : y - down + height;
    } else if (c < fourth) {
      x = x + right < width ? x + right : x + right - width;
    } else {
      x = x >= right ? x - right : x - right + width;
    }
    return base + (static_cast<long long>(y) * width + x) * pitch;
  }

  __device__ float4 load(int y, int x, int c) const {
    if (fours) return load4(pixel(y, x, c), c, channels, true);
    float found[4];
    for (int i = 0; i < 4; ++i)
      found[i] = c + i < channels ? to_float(pixel(y, x, c + i)[c + i]) : 0.f;
    return {found[0], found[1], found[2], found[3]};
  }
};

// The pixel that place t of a window sees; false outside of the map.
__device__ __forceinline__ bool seen(const WindowSizes& n, int pixel, int t, int* y, int* x) {
  *y = pixel / n.width + t / n.columns * n.row_step - n.row_step * (n.rows - 1) / 2;
  *x = pixel % n.width + t % n.columns * n.column_step - n.column_step * (n.columns - 1) / 2;
  return *y >= 0 && *y < n.height && *x >= 0 && *x < n.width;
}

// averages[cell]: a chunk of channels, averaged over each cell of the grid.
template <class T>
__device__ void pool_cells(const T* base, const WindowSizes& n, int c0,
                           float (*averages)[kWindowPitch]) {
  const int pitch = 3 * n.channels, c = 4 * (lane_id() % kPartLanes);
  const bool fours = by_fours(base, pitch, n.channels);
  __syncthreads();
  for (int cell = warp_id(); cell < n.cells(); cell += blockDim.x / kLanes) {
    const Cell own(cell, n.height, n.width, n.grid_rows, n.grid_columns);
    float sum[4] = {0.f, 0.f, 0.f, 0.f};
#pragma unroll 4
    for (int k = lane_id() / kPartLanes; k < own.area; k += kParts)
      add_scaled(sum, 1.f, load4(base + own.place(k, n.width) * pitch, c0 + c, n.channels, fours));
    join_groups(sum, kParts);
    if (lane_id() < kPartLanes)
      for (int i = 0; i < 4; ++i) averages[cell][c + i] = sum[i] / static_cast<float>(own.area);
  }
  __syncthreads();
}

// scores[window + cell] += products of a chunk of the query and the averages.
__device__ inline void score_cells(const WindowSizes& n, const float* query,
                                   const float (*averages)[kWindowPitch], bool first,
                                   float* scores) {
  for (int cell = lane_id(); cell < n.cells(); cell += kLanes) {
    float sum = first ? 0.f : scores[n.window() + cell];
    for (int c = 0; c < kWindowChunk; ++c) sum += query[c] * averages[cell][c];
    scores[n.window() + cell] = sum;
  }
}

// scores[t] of the window's places; outside of the map they are zero.
template <class T>
__device__ void score_window(const WindowSizes& n, const T* qkv, const Rolled<T>& keys, int pixel,
                             float* scores) {
  const T* query = qkv + static_cast<long long>(pixel) * 3 * n.channels;
  const bool fours = by_fours(qkv, 3 * n.channels, n.channels);
  for (int t0 = 0; t0 < n.window(); t0 += kParts) {
    const int t = t0 + lane_id() / kPartLanes;
    int y, x;
    float sum = 0.f;
    if (t < n.window() && seen(n, pixel, t, &y, &x))
      for (int c = 4 * (lane_id() % kPartLanes); c < n.channels; c += kWindowChunk)
        sum += dot4(load4(query, c, n.channels, fours), keys.load(y, x, c));
    sum = lanes_sum(sum, kPartLanes);
    if (t < n.window() && lane_id() % kPartLanes == 0) scores[t] = sum;
  }
}

// A chunk of one pixel's output; groups of lanes share out the places.
template <class T>
__device__ void mix_window(const WindowSizes& n, const Rolled<T>& values,
                           const float (*averages)[kWindowPitch], int pixel, int c0,
                           const float* weights, const T* residual, T* y_out) {
  const int group = lane_id() / kPartLanes, c = 4 * (lane_id() % kPartLanes);
  float out[4] = {0.f, 0.f, 0.f, 0.f};
#pragma unroll 4
  for (int t = group; t < n.window(); t += kParts) {
    int y, x;
    if (seen(n, pixel, t, &y, &x)) add_scaled(out, weights[t], values.load(y, x, c0 + c));
  }
  for (int cell = group; cell < n.cells(); cell += kParts)
    add_scaled(out, weights[n.window() + cell],
               *reinterpret_cast<const float4*>(&averages[cell][c]));
  join_groups(out, kParts);
  if (group != 0) return;
  const long long at = static_cast<long long>(pixel) * n.channels;
  if (residual) {
    const bool fours = by_fours(residual, n.channels, n.channels);
    add_scaled(out, 1.f, load4(residual + at, c0 + c, n.channels, fours));
  }
  store4(y_out + at, c0 + c, n.channels, by_fours(y_out, n.channels, n.channels), out);
}

// Block (x, z): pixels, image. Dynamic shared: places() floats for each pixel, the averages, and a
// chunk of a query for each warp.
template <class T>
__device__ void window_attention(const T* qkv, const T* residual, const WindowSizes& n, T* y) {
  ATTNC_SHARED(float, shared);
  const int warps = blockDim.x / kLanes, first = blockIdx.x * n.pixels, tokens = n.height * n.width;
  const int count = min(n.pixels, tokens - first);
  auto averages = reinterpret_cast<float(*)[kWindowPitch]>(shared);
  float* query = shared + n.cells() * kWindowPitch + warp_id() * kWindowChunk;
  float* weights = shared + n.cells() * kWindowPitch + warps * kWindowChunk;
  const long long image = blockIdx.z;
  qkv += image * tokens * 3 * n.channels;
  y += image * tokens * n.channels;
  if (residual) residual += image * tokens * n.channels;
  for (int c0 = 0; n.cells() > 0 && c0 < n.channels; c0 += kWindowChunk) {
    pool_cells(qkv + n.channels, n, c0, averages);
    for (int i = warp_id(); i < count; i += warps) {
      const int c = c0 + lane_id();
      const T* row = qkv + static_cast<long long>(first + i) * 3 * n.channels;
      query[lane_id()] = c < n.channels ? to_float(row[c]) : 0.f;
      __syncwarp();
      score_cells(n, query, averages, c0 == 0, weights + i * n.places());
      __syncwarp();
    }
  }
  const Rolled<T> keys(qkv + n.channels, n), values(qkv + 2 * n.channels, n);
  for (int i = warp_id(); i < count; i += warps) {
    float* own = weights + i * n.places();
    score_window(n, qkv, keys, first + i, own);
    __syncwarp();
    for (int t = lane_id(); t < n.places(); t += kLanes) own[t] *= n.scale;
    __syncwarp();
    warp_softmax(own, n.places());
  }
  for (int c0 = 0; c0 < n.channels; c0 += kWindowChunk) {
    if (n.cells() > 0) pool_cells(qkv + 2 * n.channels, n, c0, averages);
    for (int i = warp_id(); i < count; i += warps)
      mix_window(n, values, averages, first + i, c0, weights + i * n.places(), residual, y);
  }
}

}  // namespace attnc
