// SparseRows: each query chooses its keys and attends to them (Sparsifiner, arXiv 2303.13755).
//
// A warp has one query: low-rank coefficients, the largest of them, from these a score for each
// key, the largest of them, and the softmax over the keys that these are. Bound by latency, of the
// selections (32 counts over the scores) and of reads from the L2 that wait for each other.
#pragma once
#include "select.cuh"

namespace attnc {

constexpr int kRowsThreads = 128;
constexpr int kRowsWarps = kRowsThreads / kLanes;
constexpr int kKeyLanes = 8;  // share a key
constexpr float kNoScore = -3.4028234663852886e38f;

struct RowSizes {
  int tokens, heads, dim, narrow, rank, coef_topk, keep, prune_rows;
  float coef_threshold, score_threshold, scale, coef_scale;

  __device__ int longest() const { return max(tokens, rank); }
  // Floats of a warp: query, narrow query, coefficients, scores, list.
  __device__ int floats() const { return dim + narrow + rank + 2 * longest(); }
};

// A warp's part of the dynamic shared memory.
struct RowMemory {
  float *query, *narrow, *coefficients, *scores;
  int* list;

  __device__ RowMemory(float* shared, const RowSizes& n) {
    query = shared + warp_id() * n.floats();
    narrow = query + n.dim;
    coefficients = narrow + n.narrow;
    scores = coefficients + n.rank;
    list = reinterpret_cast<int*>(scores + n.longest());
  }
};

template <class T>
__device__ float dot(const float* x, const T* row, int count) {
  const bool fours = by_fours(row, 0, count);
  float sum = 0.f;
  for (int i = 0; i < count; i += 4) {
    const float4 v = load4(row, i, count, fours);
    sum += x[i] * v.x;
    if (i + 1 < count) sum += x[i + 1] * v.y;
    if (i + 2 < count) sum += x[i + 2] * v.z;
    if (i + 3 < count) sum += x[i + 3] * v.w;
  }
  return sum;
}

// coefficients: the softmax of the narrow query times the summary `low` [narrow, rank].
template <class T>
__device__ void coefficients_of(const RowMemory& m, const RowSizes& n, const T* wq, const T* bq,
                                const T* low, float weight) {
  for (int c = lane_id(); c < n.narrow; c += kLanes) {
    const float sum = dot(m.query, wq + static_cast<long long>(c) * n.dim, n.dim);
    m.narrow[c] = (sum + to_float(bq[c])) * weight;
  }
  __syncwarp();
  for (int r = lane_id(); r < n.rank; r += kLanes) {
    float sum = 0.f;
#pragma unroll 4
    for (int c = 0; c < n.narrow; ++c)
      sum += m.narrow[c] * to_float(low[static_cast<long long>(c) * n.rank + r]);
    m.coefficients[r] = sum * n.coef_scale;
  }
  __syncwarp();
  warp_softmax(m.coefficients, n.rank);
}

// list: the keys that the query of this row attends to; their number.
template <class T>
__device__ int choose_keys(const RowMemory& m, const RowSizes& n, const T* basis, const T* active) {
  const int chosen = select(m.coefficients, n.rank, n.coef_topk, n.coef_threshold, m.list);
  for (int j = lane_id(); j < n.tokens; j += kLanes) {
    float score = 0.f;
#pragma unroll 4
    for (int t = 0; t < chosen; ++t) {
      const int r = m.list[t];
      score += m.coefficients[r] * to_float(basis[static_cast<long long>(r) * n.tokens + j]);
    }
    m.scores[j] = activity(active, j) > 0.f ? score : kNoScore;
  }
  __syncwarp();
  return select(m.scores, n.tokens, n.keep, n.score_threshold, m.list);
}

// scores[t]: the softmax over the keys of the list, eight lanes a key.
template <class T>
__device__ void weigh_keys(const RowMemory& m, const RowSizes& n, const T* keys, long long stride,
                           const T* active, int count) {
  const bool fours = by_fours(keys, stride, n.dim);
  const int part = lane_id() % kKeyLanes;
  for (int t0 = 0; t0 < count; t0 += kLanes / kKeyLanes) {
    const int t = t0 + lane_id() / kKeyLanes, token = m.list[min(t, count - 1)];
    float sum = 0.f;
    for (int d = 4 * part; d < n.dim; d += 4 * kKeyLanes) {
      const float4 k = load4(keys + token * stride, d, n.dim, fours);
      sum += m.query[d] * k.x;
      if (d + 1 < n.dim) sum += m.query[d + 1] * k.y;
      if (d + 2 < n.dim) sum += m.query[d + 2] * k.z;
      if (d + 3 < n.dim) sum += m.query[d + 3] * k.w;
    }
    sum = lanes_sum(sum, kKeyLanes) * activity(active, token);
    if (part == 0 && t < count) m.scores[t] = sum * n.scale;
  }
  __syncwarp();
  warp_softmax(m.scores, count);
}

// y: the weighted values; groups of lanes share out the keys where a head is narrow.
template <class T>
__device__ void take_values(const RowMemory& m, const RowSizes& n, const T* values,
                            long long stride, const T* active, int count, T* y) {
  const bool fours = by_fours(values, stride, n.dim), fours_out = by_fours(y, 0, n.dim);
  for (int c0 = 0; c0 < n.dim; c0 += 4 * kLanes) {
    const int groups = groups_of(n.dim - c0), wide = kLanes / groups;
    const int c = c0 + 4 * (lane_id() % wide);
    float out[4] = {0.f, 0.f, 0.f, 0.f};
#pragma unroll 4
    for (int t = lane_id() / wide; t < count; t += groups) {
      const int token = m.list[t];
      const float4 v = load4(values + token * stride, c, n.dim, fours);
      add_scaled(out, m.scores[t] * activity(active, token), v);
    }
    join_groups(out, groups);
    if (lane_id() < wide) store4(y, c, n.dim, fours_out, out);
  }
}

// Block (x, y, z): rows, head, image. Dynamic shared: floats() for each warp.
template <class T>
__device__ void sparse_rows(const T* qkv, const T* low, const T* wq, const T* bq, const T* basis,
                            const T* active, const RowSizes& n, T* y) {
  ATTNC_SHARED(float, shared);
  const int row = blockIdx.x * kRowsWarps + warp_id(), head = blockIdx.y;
  const long long image = blockIdx.z, width = static_cast<long long>(n.heads) * n.dim;
  if (row >= n.tokens) return;  // warps never wait for each other
  const RowMemory m(shared, n);
  const T* own = qkv + image * n.tokens * 3 * width + static_cast<long long>(head) * n.dim;
  if (active) active += image * n.tokens;
  const float weight = activity(active, row);
  for (int d = lane_id(); d < n.dim; d += kLanes)
    m.query[d] = to_float(own[row * 3 * width + d]) * weight;
  __syncwarp();
  int count = 0;
  if (row == 0) {  // the class token sees all
    for (int j = lane_id(); j < n.tokens; j += kLanes) m.list[j] = j;
    __syncwarp();
    count = n.tokens;
  } else if (!n.prune_rows || weight > 0.f) {
    coefficients_of(m, n, wq, bq, low + (image * n.heads + head) * n.narrow * n.rank, weight);
    count = choose_keys(m, n, basis, active);
  }
  weigh_keys(m, n, own + width, 3 * width, active, count);
  y += (image * n.tokens + row) * width + static_cast<long long>(head) * n.dim;
  take_values(m, n, own + 2 * width, 3 * width, active, count, y);
}

}  // namespace attnc
