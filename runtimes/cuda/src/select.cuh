// The largest of an array, by one warp: of equals the first, in the order of their places.
#pragma once
#include "common.cuh"

namespace attnc {

// Whole numbers in the order of the floats; both zeros are the same.
__device__ __forceinline__ unsigned ordered(float x) {
  const unsigned bits = __float_as_uint(x + 0.f);
  return bits >> 31 ? ~bits : bits | 0x80000000u;
}

__device__ __forceinline__ int lanes_count(int x) {
  for (int step = kLanes / 2; step > 0; step /= 2) x += __shfl_xor_sync(kAll, x, step);
  return x;
}

__device__ inline int count_from(const float* values, int count, unsigned least) {
  int found = 0;
  for (int i = lane_id(); i < count; i += kLanes) found += ordered(values[i]) >= least;
  return lanes_count(found);
}

// The `keep`-th largest, as a whole number, found bit by bit (less where as many are above it).
__device__ inline unsigned cut_of(const float* values, int count, int keep) {
  unsigned cut = 0;
  for (int bit = 31; bit >= 0; --bit) {
    const unsigned tried = cut | 1u << bit;
    const int above = count_from(values, count, tried);
    if (above >= keep) cut = tried;
    if (above == keep) break;
  }
  return cut;
}

// list: the places of the `keep` largest that are above the threshold, in order; their number.
__device__ inline int select(const float* values, int count, int keep, float threshold, int* list) {
  const unsigned cut = keep < count ? cut_of(values, count, keep) : 0;
  int ties = count;
  if (keep < count) ties = cut == 0xFFFFFFFFu ? keep : keep - count_from(values, count, cut + 1);
  const unsigned before = (1u << lane_id()) - 1;
  int chosen = 0, equal = 0;
  for (int i0 = 0; i0 < count; i0 += kLanes) {
    const int i = i0 + lane_id();
    const float value = i < count ? values[i] : lowest();
    const unsigned place = ordered(value);
    const unsigned same = __ballot_sync(kAll, i < count && place == cut);
    const bool first = place > cut || (place == cut && equal + __popc(same & before) < ties);
    const unsigned taken = __ballot_sync(kAll, i < count && first && value > threshold);
    if (taken >> lane_id() & 1) list[chosen + __popc(taken & before)] = i;
    chosen += __popc(taken);
    equal += __popc(same);
  }
  __syncwarp();
  return chosen;
}

}  // namespace attnc
