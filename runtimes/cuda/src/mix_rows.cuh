// Rows that take from all keys: a softmax over scores, times values, in one pass over the keys
// (online softmax, arXiv 1805.02867; tiled as in FlashAttention, arXiv 2205.14135).
//
// Bound by shared memory: two rows of a warp share each value that it reads. Beyond 128 channels
// the scores are computed once for each 128.
#pragma once
#include "common.cuh"

namespace attnc {

constexpr int kMixThreads = 128;
constexpr int kMixWarps = kMixThreads / kLanes;
constexpr int kTile = 32;    // keys at a time
constexpr int kChunk = 128;  // channels of a block
constexpr int kDims = 32;    // of queries and keys at a time
constexpr int kPitch = kDims + 4;

// Scaled products of queries and keys. Lane i of a warp has key j0 + i; each warp has R rows.
template <class T, int R>
struct DotScore {
  const T *queries, *keys;
  long long query_stride, key_stride;
  int rows, count, dim;
  float scale;

  __device__ void load(int row0, int j0, int d0, float (*k)[kPitch], float (*q)[kPitch]) const {
    load_rows(keys, key_stride, j0, min(kTile, count - j0), kTile, d0, k);
    if (j0 > 0 && dim <= kDims) return;  // the queries are there already
    constexpr int kRows = R * kMixWarps;
    load_rows(queries, query_stride, row0, min(kRows, rows - row0), kRows, d0, q);
  }

  // tile[i]: kDims channels of row `first` + i, zero past the last row and the last channel.
  __device__ void load_rows(const T* base, long long stride, int first, int inside, int height,
                            int d0, float (*tile)[kPitch]) const {
    constexpr int kQuads = kDims / 4;
    const bool fours = by_fours(base, stride, dim);
    for (int i = threadIdx.x; i < height * kQuads; i += kMixThreads) {
      const int row = i / kQuads, d = 4 * (i % kQuads);
      const float4 zero = {0.f, 0.f, 0.f, 0.f};
      *reinterpret_cast<float4*>(&tile[row][d]) =
          row < inside ? load4(base + (first + row) * stride, d0 + d, dim, fours) : zero;
    }
  }

  // The scores of R rows and this lane's key, of the block's rows from row0 on.
  __device__ void tile(int row0, int j0, float (&s)[R]) const {
    __shared__ __align__(16) float k[kTile][kPitch];
    __shared__ __align__(16) float q[R * kMixWarps][kPitch];
    for (int r = 0; r < R; ++r) s[r] = 0.f;
    for (int d0 = 0; d0 < dim; d0 += kDims) {
      __syncthreads();
      load(row0, j0, d0, k, q);
      __syncthreads();
      const int width = min(kDims, dim - d0);
      for (int d = 0; d < width; d += 4) {
        const float4 a = *reinterpret_cast<const float4*>(&k[lane_id()][d]);
#pragma unroll
        for (int r = 0; r < R; ++r)
          s[r] += dot4(a, *reinterpret_cast<const float4*>(&q[warp_id() * R + r][d]));
      }
    }
    for (int r = 0; r < R; ++r) s[r] = j0 + lane_id() < count ? s[r] * scale : lowest();
  }
};

// Rows of values [keys, width], of which a block takes the channels from c0 on. Narrow rows are
// shared out: `groups` groups of lanes have all channels, four each, and every group its own keys.
template <class T>
struct Values {
  const T* base;
  long long stride;
  int c0, width;

  __device__ int groups() const { return groups_of(width - c0); }
  __device__ void load(int j0, int keys, int groups, float (*tile)[kChunk]) const {
    const bool fours = by_fours(base, stride, width);
    const int per_row = kLanes / groups;
    for (int i = threadIdx.x; i < kTile * per_row; i += kMixThreads) {
      const int j = j0 + i / per_row, c = 4 * (i % per_row);
      const float4 zero = {0.f, 0.f, 0.f, 0.f};
      *reinterpret_cast<float4*>(&tile[i / per_row][c]) =
          j < keys ? load4(base + j * stride, c0 + c, width, fours) : zero;
    }
  }
};

// The running softmax of one row: what came before is scaled down when a larger score comes.
struct Running {
  float largest, total;

  __device__ float add(float score, float (&out)[4]) {
    const float most = fmaxf(largest, lanes_max(score));
    const float base = most == lowest() ? 0.f : most;
    const float shrink = __expf(largest - base), p = __expf(score - base);
    for (int i = 0; i < 4; ++i) out[i] *= shrink;
    total = total * shrink + p;
    largest = most;
    return p;
  }
};

// The lane's channel within the block's chunk.
__device__ __forceinline__ int mix_channel(int groups) {
  return 4 * (lane_id() % (kLanes / groups));
}

// out: R rows of the warp, four channels of the lane, divided by the softmax's sum.
template <int R, class Score, class T>
__device__ void mix_rows(const Score& score, int row0, int keys, const Values<T>& values,
                         float (&out)[R][4]) {
  __shared__ __align__(16) float tile[kTile][kChunk];
  __shared__ float weight[kMixWarps][kTile][R];
  const int lane = lane_id(), warp = warp_id(), groups = values.groups();
  const int channel = mix_channel(groups), group = lane / (kLanes / groups);
  Running running[R];
  for (int r = 0; r < R; ++r) {
    running[r] = {lowest(), 0.f};
    for (int i = 0; i < 4; ++i) out[r][i] = 0.f;
  }
  for (int j0 = 0; j0 < keys; j0 += kTile) {
    float s[R];
    score.tile(row0, j0, s);
    __syncthreads();
    values.load(j0, keys, groups, tile);
    for (int r = 0; r < R; ++r) weight[warp][lane][r] = running[r].add(s[r], out[r]);
    __syncthreads();
    const int width = min(kTile, keys - j0);
#pragma unroll 4
    for (int j = group; j < width; j += groups) {
      const float4 v = *reinterpret_cast<const float4*>(&tile[j][channel]);
#pragma unroll
      for (int r = 0; r < R; ++r) add_scaled(out[r], weight[warp][j][r], v);
    }
  }
  for (int r = 0; r < R; ++r) {
    const float total = lanes_sum(running[r].total);
    join_groups(out[r], groups);
    for (float& value : out[r]) value /= total;
  }
}

}  // namespace attnc
