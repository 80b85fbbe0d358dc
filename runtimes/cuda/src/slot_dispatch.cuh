// SlotDispatch: GLMix's dealing out of the slots to the tokens (arXiv 2411.14429).
#pragma once
#include "mix_rows.cuh"

namespace attnc {

constexpr int kDispatchRows = 2;  // tokens per warp

// Scores that are there already: [rows, count].
template <class T>
struct GivenScore {
  const T* scores;
  int rows, count;

  __device__ void tile(int row0, int j0, float (&s)[kDispatchRows]) const {
    const int j = j0 + lane_id();
    for (int r = 0; r < kDispatchRows; ++r) {
      const int row = row0 + warp_id() * kDispatchRows + r;
      const bool inside = row < rows && j < count;
      s[r] = inside ? to_float(scores[static_cast<long long>(row) * count + j]) : lowest();
    }
  }
};

// Block (x, y, z): tokens, channels, image; `residual` [B,L,C] or null.
template <class T>
__device__ void slot_dispatch(const T* logits, const T* slots, const T* residual, int tokens,
                              int count, int channels, T* y) {
  const long long image = blockIdx.z;
  const int row0 = blockIdx.x * kDispatchRows * kMixWarps, c0 = blockIdx.y * kChunk;
  const GivenScore<T> score = {logits + image * tokens * count, tokens, count};
  const Values<T> values = {slots + image * count * channels, channels, c0, channels};
  float out[kDispatchRows][4];
  mix_rows(score, row0, count, values, out);
  const int c = c0 + mix_channel(values.groups());
  const bool fours = by_fours(y, channels, channels);
  const bool fours_in = residual && by_fours(residual, channels, channels);
  for (int r = 0; r < kDispatchRows; ++r) {
    const int token = row0 + warp_id() * kDispatchRows + r;
    if (token >= tokens || lane_id() >= kLanes / values.groups()) continue;
    const long long at = (image * tokens + token) * channels;
    if (residual) {
      const float4 more = load4(residual + at, c, channels, fours_in);
      out[r][0] += more.x;
      out[r][1] += more.y;
      out[r][2] += more.z;
      out[r][3] += more.w;
    }
    store4(y + at, c, channels, fours, out[r]);
  }
}

}  // namespace attnc
