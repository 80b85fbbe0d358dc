// SelectTokens: EViT's attentive tokens stay, the others fuse (arXiv 2202.07800).
//
// Blocks cannot wait for each other, so each one ranks all tokens of its image for itself, in the
// same order of operations: all blocks choose alike. Bound by that: each block reads all keys once
// and compares all pairs of patches.
#pragma once
#include "common.cuh"

namespace attnc {

constexpr int kSelectThreads = 256;
constexpr int kSelectWarps = kSelectThreads / kLanes;
constexpr int kTokenLanes = 8;   // share a key
constexpr int kOutRows = 32;     // of a block
constexpr int kFuseChannels = 64;  // of a block

struct SelectSizes {
  int tokens, channels, query_rows, query_width, memory_width;
  int heads, dim_qk, q_at, k_at, keep, fuse;
  float scale;

  __device__ int patches() const { return tokens - 1; }
  __device__ int padded() const { return (tokens + 3) / 4 * 4; }  // floats of an array
};

// logits[n]: the class token's query times key n, of one head.
template <class T>
__device__ void head_logits(const T* query, const T* keys, const SelectSizes& n, float* logits) {
  const bool fours = by_fours(keys, n.memory_width, n.dim_qk);
  const bool fours_query = by_fours(query, 0, n.dim_qk);
  constexpr int kStep = kSelectThreads / kTokenLanes;
  for (int t0 = 0; t0 < n.tokens; t0 += kStep) {
    const int t = t0 + threadIdx.x / kTokenLanes;
    const T* key = keys + static_cast<long long>(min(t, n.tokens - 1)) * n.memory_width;
    float sum = 0.f;
    for (int d = 4 * (lane_id() % kTokenLanes); d < n.dim_qk; d += 4 * kTokenLanes)
      sum += dot4(load4(query, d, n.dim_qk, fours_query), load4(key, d, n.dim_qk, fours));
    sum = lanes_sum(sum, kTokenLanes) * n.scale;
    if (t < n.tokens && lane_id() % kTokenLanes == 0) logits[t] = sum;
  }
  __syncthreads();
}

// scores[j]: the attention that patch j gets from the class token, averaged over the heads.
template <class T>
__device__ void patch_scores(const T* query, const T* memory, const SelectSizes& n, float* logits,
                             float* scores) {
  for (int head = 0; head < n.heads; ++head) {
    head_logits(query + n.q_at + head * n.dim_qk, memory + n.k_at + head * n.dim_qk, n, logits);
    float largest = lowest(), total = 0.f;
    for (int i = lane_id(); i < n.tokens; i += kLanes) largest = fmaxf(largest, logits[i]);
    largest = lanes_max(largest);
    for (int i = lane_id(); i < n.tokens; i += kLanes) total += __expf(logits[i] - largest);
    total = lanes_sum(total);
    for (int j = threadIdx.x; j < n.patches(); j += kSelectThreads)
      scores[j] = (head ? scores[j] : 0.f) + __expf(logits[1 + j] - largest) / total;
    __syncthreads();
  }
  for (int j = threadIdx.x; j < n.patches(); j += kSelectThreads) scores[j] /= n.heads;
  const int beyond = n.patches() + threadIdx.x;
  if (beyond < n.padded()) scores[beyond] = lowest();
  __syncthreads();
}

// How many of scores[from] to scores[to], both multiples of four, are above this one, or at least
// as much if it is behind them.
template <bool behind>
__device__ __forceinline__ int count_above(const float* scores, int from, int to, float own) {
  int found = 0;
#pragma unroll 4
  for (int i = from; i < to; i += 4) {
    const float4 x = *reinterpret_cast<const float4*>(scores + i);
    found += behind ? x.x >= own : x.x > own;
    found += behind ? x.y >= own : x.y > own;
    found += behind ? x.z >= own : x.z > own;
    found += behind ? x.w >= own : x.w > own;
  }
  return found;
}

// order: the kept patches, the best first and of equals the first; weights: zero where kept.
__device__ inline void rank_patches(const SelectSizes& n, const float* scores, float* weights,
                                    int* order) {
  for (int k = threadIdx.x; k < n.keep; k += kSelectThreads) order[k] = 0;
  __syncthreads();
  for (int j = threadIdx.x; j < n.patches(); j += kSelectThreads) {
    const float own = scores[j];
    const int near = j - j % kLanes, far = min(near + kLanes, n.padded());  // same in a warp
    int rank = count_above<true>(scores, 0, near, own);
    for (int i = near; i < far; ++i) {
      const float other = scores[i];
      rank += other > own || (other == own && i < j);
    }
    rank += count_above<false>(scores, far, n.padded(), own);
    if (rank < n.keep) order[rank] = j;
    weights[j] = rank < n.keep ? 0.f : own;
  }
  __syncthreads();
}

// Rows of y from row0 on: the class token, then the kept ones.
template <class T>
__device__ void copy_rows(const T* x, const SelectSizes& n, const int* order, int row0, T* y) {
  const bool fours = by_fours(x, n.channels, n.channels) && by_fours(y, n.channels, n.channels);
  const int end = min(1 + n.keep, row0 + kOutRows);
  for (int row = row0 + warp_id(); row < end; row += kSelectWarps) {
    const T* from = x + static_cast<long long>(row ? 1 + order[row - 1] : 0) * n.channels;
    T* to = y + static_cast<long long>(row) * n.channels;
    for (int c = 4 * lane_id(); fours && c < n.channels; c += 4 * kLanes)
      *reinterpret_cast<Four<T>*>(to + c) = *reinterpret_cast<const Four<T>*>(from + c);
    for (int c = lane_id(); !fours && c < n.channels; c += kLanes) to[c] = from[c];
  }
}

// Channels of the fused row from c0 on: sum(w x) + (sum(w) - 1) bias.
template <class T>
__device__ void fuse_rows(const T* x, const T* bias, const SelectSizes& n, const float* weights,
                          int c0, T* y) {
  __shared__ float parts[kSelectWarps][kFuseChannels];
  constexpr int kWide = kFuseChannels / 4, kGroups = kLanes / kWide;
  const bool fours = by_fours(x, n.channels, n.channels);
  const int c = 4 * (lane_id() % kWide);
  float out[4] = {0.f, 0.f, 0.f, 0.f}, total = 0.f;
#pragma unroll 4
  for (int j = threadIdx.x / kWide; j < n.patches(); j += kSelectWarps * kGroups) {
    const T* row = x + static_cast<long long>(1 + j) * n.channels;
    add_scaled(out, weights[j], load4(row, c0 + c, n.channels, fours));
  }
  for (int j = lane_id(); j < n.patches(); j += kLanes) total += weights[j];
  total = lanes_sum(total);
  join_groups(out, kGroups);
  for (int i = 0; i < 4; ++i)
    if (lane_id() < kWide) parts[warp_id()][c + i] = out[i];
  __syncthreads();
  const int own = threadIdx.x;
  if (own >= kFuseChannels || c0 + own >= n.channels) return;
  float sum = (total - 1.f) * to_float(bias[c0 + own]);
  for (int w = 0; w < kSelectWarps; ++w) sum += parts[w][own];
  store(y + static_cast<long long>(1 + n.keep) * n.channels + c0 + own, sum);
}

// Block (x, z): rows, then channels of the fused row; image. Dynamic shared: 3 * padded() floats.
template <class T>
__device__ void select_tokens(const T* x, const T* query, const T* memory, const T* bias,
                              const SelectSizes& n, T* y, long long* index, T* weights_out) {
  ATTNC_SHARED(float, weights);
  float* scores = weights + n.padded();
  int* order = reinterpret_cast<int*>(scores + n.padded());
  const long long image = blockIdx.z;
  x += image * n.tokens * n.channels;
  y += image * (1 + n.keep + n.fuse) * n.channels;
  query += image * n.query_rows * n.query_width;
  memory += image * n.tokens * n.memory_width;
  patch_scores(query, memory, n, weights, scores);
  rank_patches(n, scores, weights, order);
  const int row_blocks = (1 + n.keep + kOutRows - 1) / kOutRows, block = blockIdx.x;
  if (block < row_blocks) {
    copy_rows(x, n, order, block * kOutRows, y);
  } else {
    fuse_rows(x, bias, n, weights, (block - row_blocks) * kFuseChannels, y);
  }
  if (block != 0) return;
  for (int k = threadIdx.x; k < n.keep; k += kSelectThreads) index[image * n.keep + k] = order[k];
  for (int j = threadIdx.x; j < n.patches(); j += kSelectThreads)
    store(weights_out + image * n.patches() + j, weights[j]);
}

}  // namespace attnc
