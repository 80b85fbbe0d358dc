// SparseSummary: what all queries of Sparsifiner share (arXiv 2303.13755).
//
// low = sum over tokens of (k wk^T + bk) times proj_n; the tokens are summed first, which is less.
// Bound by reading a head's keys from the L2, once for each four columns of the map.
#pragma once
#include "common.cuh"

namespace attnc {

constexpr int kSummaryThreads = 256;
constexpr int kSummaryWarps = kSummaryThreads / kLanes;
constexpr int kColumns = 4;  // of the low-rank map, per block

// sums[d][i] += the keys' channel d times column r0 + i, each warp over its share of the tokens;
// a warp's lanes have neighbouring channels. `columns` gets the sums of the map itself.
template <class T>
__device__ void sum_tokens(const T* keys, long long stride, const T* proj, const T* active,
                           int tokens, int rank, int r0, int d, int dim, float (&sums)[kColumns],
                           float (&columns)[kColumns]) {
  for (int i = 0; i < kColumns; ++i) sums[i] = columns[i] = 0.f;
#pragma unroll 4
  for (int n = warp_id(); n < tokens; n += kSummaryWarps) {
    const float weight = activity(active, n);
    const float key = d < dim ? to_float(keys[n * stride + d]) * weight : 0.f;
    const T* row = proj + static_cast<long long>(n) * rank;
    for (int i = 0; i < kColumns; ++i) {
      const float p = r0 + i < rank ? to_float(row[r0 + i]) : 0.f;
      sums[i] += key * weight * p;
      columns[i] += weight * p;
    }
  }
}

// Block (x, y, z): columns of the map, head, image. Dynamic shared: dim * kColumns floats.
template <class T>
__device__ void sparse_summary(const T* qkv, const T* wk, const T* bk, const T* proj,
                               const T* active, int tokens, int heads, int dim, int narrow,
                               int rank, T* low) {
  ATTNC_SHARED(float, total);
  __shared__ float part[kSummaryWarps][kLanes][kColumns + 1];
  __shared__ float part_columns[kSummaryWarps][kColumns];
  const long long image = blockIdx.z, stride = 3LL * heads * dim;
  const int head = blockIdx.y, r0 = blockIdx.x * kColumns;
  const T* keys = qkv + image * tokens * stride + static_cast<long long>(heads + head) * dim;
  if (active) active += image * tokens;
  for (int d0 = 0; d0 < dim; d0 += kLanes) {
    float sums[kColumns], columns[kColumns];
    sum_tokens(keys, stride, proj, active, tokens, rank, r0, d0 + lane_id(), dim, sums, columns);
    __syncthreads();
    for (int i = 0; i < kColumns; ++i) {
      part[warp_id()][lane_id()][i] = sums[i];
      if (lane_id() == 0) part_columns[warp_id()][i] = columns[i];
    }
    __syncthreads();
    for (int i = threadIdx.x; i < kLanes * kColumns; i += kSummaryThreads) {
      const int d = i / kColumns, column = i % kColumns;
      float sum = 0.f;
      for (int w = 0; w < kSummaryWarps; ++w) sum += part[w][d][column];
      if (d0 + d < dim) total[(d0 + d) * kColumns + column] = sum;
    }
  }
  __syncthreads();
  low += (image * heads + head) * narrow * rank;
  for (int i = threadIdx.x; i < narrow * kColumns; i += kSummaryThreads) {
    const int c = i / kColumns, column = i % kColumns;
    if (r0 + column >= rank) continue;
    float columns = 0.f, sum = 0.f;
    for (int w = 0; w < kSummaryWarps; ++w) columns += part_columns[w][column];
    for (int d = 0; d < dim; ++d)
      sum += to_float(wk[static_cast<long long>(c) * dim + d]) * total[d * kColumns + column];
    store(low + static_cast<long long>(c) * rank + r0 + column, sum + to_float(bk[c]) * columns);
  }
}

}  // namespace attnc
