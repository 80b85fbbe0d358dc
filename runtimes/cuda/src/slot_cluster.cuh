// SlotCluster: GLMix's soft clustering (arXiv 2411.14429): few slots gather many tokens, so the
// warps of a block share out the tokens, and only then put together what they found.
//
// Bound by reads from the L2: each block reads all tokens of its image, for two slots and 128
// channels; beyond 128 channels the cosines are computed once for each 128.
#pragma once
#include "mix_rows.cuh"
#include "pool.cuh"

namespace attnc {

constexpr int kClusterThreads = 512;
constexpr int kClusterWarps = kClusterThreads / kLanes;
constexpr int kSlots = 2;  // of a block
constexpr float kLeastLength = 1e-12f;

// What a warp found for a slot: the largest logit, the sum of the weights, the weighted tokens.
struct Found {
  float largest, total, sum[kChunk];
};

// Slots that lie in memory.
template <class T>
struct GivenSlots {
  const T* slots;
  int channels;

  // out[r][c]: slot `first` + r, zero past the last slot.
  __device__ void load(int first, int count, float* out) const {
    for (int i = threadIdx.x; i < kSlots * channels; i += kClusterThreads) {
      const int slot = first + i / channels;
      const T* row = slots + static_cast<long long>(slot) * channels;
      out[i] = slot < count ? to_float(row[i % channels]) : 0.f;
    }
  }
};

// Slots that are averages of a channels-last map.
template <class T>
struct PooledSlots {
  const T* map;
  int height, width, channels, rows, columns;

  // As GivenSlots. A thread sums four channels over a share of a cell; with few channels many
  // threads share a cell. The sums lie one after the other from `out` on: at most four floats for
  // each thread, or where there are more channels than that, `out` itself.
  __device__ void load(int first, int count, float* out) const {
    const int quads = (channels + 3) / 4, jobs = kSlots * quads;
    const int shares = max(1, kClusterThreads / jobs);
    const bool fours = by_fours(map, channels, channels);
    for (int i = threadIdx.x; i < jobs * shares; i += kClusterThreads) {
      const int r = i % jobs / quads, c = 4 * (i % jobs % quads), share = i / jobs;
      float sum[4] = {0.f, 0.f, 0.f, 0.f};
      if (first + r < count) {
        const Cell cell(first + r, height, width, rows, columns);
#pragma unroll 4
        for (int k = share; k < cell.area; k += shares)
          add_scaled(sum, 1.f, load4(map + cell.place(k, width) * channels, c, channels, fours));
        for (float& value : sum) value /= static_cast<float>(cell.area);
      }
      for (int at = 0; at < 4 && c + at < channels; ++at)
        out[(share * kSlots + r) * channels + c + at] = sum[at];
    }
    __syncthreads();
    for (int i = threadIdx.x; i < kSlots * channels; i += kClusterThreads)
      for (int share = 1; share < shares; ++share) out[i] += out[share * kSlots * channels + i];
  }
};

// directions[r][c]: slot `first` + r over its length, zero past the last slot.
template <class Slots>
__device__ void slot_directions(const Slots& slots, int first, int count, int channels,
                                float* directions) {
  slots.load(first, count, directions);
  __syncthreads();
  const int r = warp_id();
  if (r < kSlots) {
    float* own = directions + r * channels;
    float square = 0.f;
    for (int c = lane_id(); c < channels; c += kLanes) square += own[c] * own[c];
    const float length = fmaxf(sqrtf(lanes_sum(square)), kLeastLength);
    for (int c = lane_id(); c < channels; c += kLanes) own[c] /= length;
  }
  __syncthreads();
}

// Cosines of one token and the block's slots.
template <class T>
__device__ void cosines(const T* token, bool fours, int channels, const float* directions,
                        float (&s)[kSlots]) {
  float square = 0.f;
  for (float& value : s) value = 0.f;
#pragma unroll 4
  for (int c = 0; c < channels; c += 4) {
    const float4 x = load4(token, c, channels, fours);
    square += dot4(x, x);
    for (int r = 0; r < kSlots; ++r)
      s[r] += dot4(x, load4(directions + r * channels, c, channels, fours));
  }
  for (float& value : s) value /= fmaxf(sqrtf(square), kLeastLength);
}

// The tokens that are this warp's: every kClusterWarps-th tile. Lane i has token j0 + i.
template <class T>
__device__ void gather_tokens(const T* x, int tokens, int channels, int scale, int c0, int first,
                              int count, const float* directions, T* logits,
                              Running (&running)[kSlots], float (&out)[kSlots][4]) {
  __shared__ float weight[kClusterWarps][kTile][kSlots];
  const Values<T> values = {x, channels, c0, channels};
  const bool fours = by_fours(x, channels, channels);
  const int lane = lane_id(), warp = warp_id(), groups = values.groups();
  const int c = c0 + mix_channel(groups), group = lane / (kLanes / groups);
  for (int j0 = warp * kTile; j0 < tokens; j0 += kClusterWarps * kTile) {
    const int token = j0 + lane;
    float s[kSlots];
    cosines(x + static_cast<long long>(min(token, tokens - 1)) * channels, fours, channels,
            directions, s);
    __syncwarp();
    for (int r = 0; r < kSlots; ++r) {
      s[r] = token < tokens ? s[r] * __int_as_float(scale) : lowest();
      if (logits && token < tokens && first + r < count)
        store(logits + static_cast<long long>(token) * count + first + r, s[r]);
      weight[warp][lane][r] = running[r].add(s[r], out[r]);
    }
    __syncwarp();
    const int width = min(kTile, tokens - j0);
#pragma unroll 4
    for (int j = group; j < width; j += groups) {
      const float4 v = load4(x + static_cast<long long>(j0 + j) * channels, c, channels, fours);
      for (int r = 0; r < kSlots; ++r) add_scaled(out[r], weight[warp][j][r], v);
    }
  }
}

// Writes the warp's part; sums that groups of lanes have apart are put together first.
__device__ inline void leave_found(const Running (&running)[kSlots], int groups,
                                   float (&out)[kSlots][4], Found* found) {
  for (int r = 0; r < kSlots; ++r) {
    Found& own = found[warp_id() * kSlots + r];
    own.total = lanes_sum(running[r].total);
    own.largest = running[r].largest;
    join_groups(out[r], groups);
    for (int i = 0; i < 4; ++i)
      if (lane_id() < kLanes / groups) own.sum[mix_channel(groups) + i] = out[r][i];
  }
}

// Block (x, y, z): slots, channels, image. Dynamic shared: the larger of kSlots * channels floats
// and one Found for each warp and slot (which is more than PooledSlots needs).
template <class T, class Slots>
__device__ void cluster(const T* x, const Slots& slots, int tokens, int count, int channels,
                        int scale, T* y, T* logits) {
  ATTNC_SHARED(float, shared);
  const long long image = blockIdx.z;
  const int first = blockIdx.x * kSlots, c0 = blockIdx.y * kChunk;
  x += image * tokens * channels;
  y += image * count * channels;
  logits += image * tokens * count;
  slot_directions(slots, first, count, channels, shared);
  Running running[kSlots];
  float out[kSlots][4];
  for (int r = 0; r < kSlots; ++r) {
    running[r] = {lowest(), 0.f};
    for (float& value : out[r]) value = 0.f;
  }
  gather_tokens(x, tokens, channels, scale, c0, first, count, shared,
                blockIdx.y == 0 ? logits : nullptr, running, out);
  __syncthreads();
  Found* found = reinterpret_cast<Found*>(shared);
  leave_found(running, Values<T>{x, channels, c0, channels}.groups(), out, found);
  __syncthreads();
  const int r = threadIdx.x / kChunk, c = threadIdx.x % kChunk;
  if (r >= kSlots || first + r >= count || c0 + c >= channels) return;
  float largest = lowest(), total = 0.f, sum = 0.f;
  for (int w = 0; w < kClusterWarps; ++w) largest = fmaxf(largest, found[w * kSlots + r].largest);
  for (int w = 0; w < kClusterWarps; ++w) {
    const Found& part = found[w * kSlots + r];
    const float share = __expf(part.largest - largest);
    total += part.total * share;
    sum += part.sum[c] * share;
  }
  store(y + static_cast<long long>(first + r) * channels + c0 + c, sum / total);
}

template <class T>
__device__ void slot_cluster(const T* x, const T* slots, int tokens, int count, int channels,
                             int slot_images, int scale, T* y, T* logits) {
  const long long image = slot_images > 1 ? blockIdx.z : 0;
  const GivenSlots<T> given = {slots + image * count * channels, channels};
  cluster(x, given, tokens, count, channels, scale, y, logits);
}

template <class T>
__device__ void pooled_slot_cluster(const T* x, const T* map, int tokens, int channels, int height,
                                    int width, int rows, int columns, int scale, T* y,
                                    T* logits) {
  const long long places = static_cast<long long>(height) * width;
  const T* own = map + static_cast<long long>(blockIdx.z) * places * channels;
  const PooledSlots<T> pooled = {own, height, width, channels, rows, columns};
  cluster(x, pooled, tokens, rows * columns, channels, scale, y, logits);
}

}  // namespace attnc
