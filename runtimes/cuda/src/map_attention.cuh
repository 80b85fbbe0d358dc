// MapAttention: SHViT's single head over a map (arXiv 2401.16456), channels last in memory.
#pragma once
#include "mix_rows.cuh"

namespace attnc {

constexpr int kMapRows = 2;  // per warp

// Block (x, y, z): rows, channels, image. Channels from dim_v on pass by, clamped.
template <class T>
__device__ void map_attention(const T* qkv, const T* x, int tokens, int channels, int dim_qk,
                              int dim_v, int scale, int least, int most, T* y) {
  const int image = blockIdx.z, row0 = blockIdx.x * kMapRows * kMixWarps;
  const int c0 = blockIdx.y * kChunk, wide = 2 * dim_qk + dim_v;
  const T* own = qkv + static_cast<long long>(image) * tokens * wide;
  x += static_cast<long long>(image) * tokens * channels;
  y += static_cast<long long>(image) * tokens * channels;
  const float low = __int_as_float(least), high = __int_as_float(most);
  const int first = row0 + warp_id() * kMapRows;
  if (c0 < dim_v) {
    const DotScore<T, kMapRows> score = {
        own, own + dim_qk, wide, wide, tokens, tokens, dim_qk, __int_as_float(scale)};
    const Values<T> values = {own + 2 * dim_qk, wide, c0, dim_v};
    float out[kMapRows][4];
    mix_rows(score, row0, tokens, values, out);
    const int c = c0 + mix_channel(values.groups());
    const bool fours = by_fours(y, channels, dim_v);
    for (int r = 0; r < kMapRows; ++r) {
      for (float& value : out[r]) value = fminf(fmaxf(value, low), high);
      if (first + r < tokens && lane_id() < kLanes / values.groups())
        store4(y + static_cast<long long>(first + r) * channels, c, dim_v, fours, out[r]);
    }
  }
  const int end = min(channels, c0 + kChunk);
  for (int r = 0; r < kMapRows && first + r < tokens; ++r) {
    const long long at = static_cast<long long>(first + r) * channels;
    for (int c = max(c0, dim_v) + lane_id(); c < end; c += kLanes)
      store(y + at + c, fminf(fmaxf(to_float(x[at + c]), low), high));
  }
}

}  // namespace attnc
