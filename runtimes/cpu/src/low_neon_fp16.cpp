// Half-precision arithmetic of Armv8.2 (FEAT_FP16): eight multiply-adds an instruction. Sums of 64
// products stay halves, longer ones become floats: rounding does not grow with K.
#include "kernels.h"
#include <arm_neon.h>

#define ATTNC_ARM __attribute__((target("arch=armv8.2-a+fp16")))

namespace attnc_neon {
namespace {

#include "low_tiles.h"

constexpr Int kHalfSums = 64;  // products that are summed as halves; a multiple of 8

ATTNC_ARM void halves_row(const float* x, Int k, Int filled, float factor, void* row) {
  float16_t* y = (float16_t*)row;
  Int i = 0;
  for (; i + 8 <= k; i += 8) {
    const float16x4_t low = vcvt_f16_f32(vmulq_n_f32(vld1q_f32(x + i), factor));
    vst1q_f16(y + i, vcvt_high_f16_f32(low, vmulq_n_f32(vld1q_f32(x + i + 4), factor)));
  }
  for (; i < k; ++i) y[i] = (float16_t)(x[i] * factor);
  for (; i < filled; ++i) y[i] = (float16_t)0.0f;
}

// One step of K, lane L of the rows' vectors.
template <int R, int L>
ATTNC_ARM inline __attribute__((always_inline)) void step(float16x8_t (&acc)[R][2],
                                                          const float16x8_t (&a)[R],
                                                          const float16_t* panel) {
  const float16x8_t b0 = vld1q_f16(panel + L * 16), b1 = vld1q_f16(panel + L * 16 + 8);
  _Pragma("GCC unroll 8") for (int r = 0; r < R; ++r) {
    acc[r][0] = vfmaq_laneq_f16(acc[r][0], b0, a[r], L);
    acc[r][1] = vfmaq_laneq_f16(acc[r][1], b1, a[r], L);
  }
}

template <int R>
ATTNC_ARM inline void add_to(float16x8_t (&acc)[R][2], float* out) {
  for (int r = 0; r < R; ++r) {
    for (int v = 0; v < 2; ++v) {
      float* at = out + r * 16 + v * 8;
      vst1q_f32(at, vaddq_f32(vld1q_f32(at), vcvt_f32_f16(vget_low_f16(acc[r][v]))));
      vst1q_f32(at + 4, vaddq_f32(vld1q_f32(at + 4), vcvt_high_f32_f16(acc[r][v])));
    }
  }
}

// A stretch of K that ends within kHalfSums; the rows are filled with zeros to a multiple of 8.
template <int R>
ATTNC_ARM inline void stretch(const float16_t* const (&rows)[R], Int begin, Int end,
                              const float16_t* panel, float* out) {
  float16x8_t acc[R][2], a[R];
  _Pragma("GCC unroll 8") for (int r = 0; r < R; ++r) acc[r][0] = acc[r][1] = vdupq_n_f16(0);
  Int i = begin;
  for (; i + 8 <= end; i += 8, panel += 8 * 16) {
    _Pragma("GCC unroll 8") for (int r = 0; r < R; ++r) a[r] = vld1q_f16(rows[r] + i);
    step<R, 0>(acc, a, panel);
    step<R, 1>(acc, a, panel);
    step<R, 2>(acc, a, panel);
    step<R, 3>(acc, a, panel);
    step<R, 4>(acc, a, panel);
    step<R, 5>(acc, a, panel);
    step<R, 6>(acc, a, panel);
    step<R, 7>(acc, a, panel);
  }
  for (; i < end; ++i, panel += 16) {
    _Pragma("GCC unroll 8") for (int r = 0; r < R; ++r) a[r] = vdupq_n_f16(rows[r][i]);
    step<R, 0>(acc, a, panel);
  }
  add_to(acc, out);
}

struct Fp16Tiles {
  static constexpr int kRows = 8, kWidth = 16;  // 16 accumulators, 8 rows, 2 vectors of the panel

  template <int R>
  ATTNC_ARM static void run(const char* bytes, Int stride, const void* given, Int k, float* out) {
    const float16_t* panel = (const float16_t*)given;
    const float16_t* rows[R];
    for (int r = 0; r < R; ++r) rows[r] = (const float16_t*)(bytes + r * stride);
    for (int i = 0; i < R * 16; ++i) out[i] = 0.0f;
    for (Int begin = 0; begin < k; begin += kHalfSums) {
      const Int end = begin + kHalfSums < k ? begin + kHalfSums : k;
      stretch<R>(rows, begin, end, panel + begin * 16, out);
    }
  }
};

}  // namespace

extern const AttncLow kFp16;
const AttncLow kFp16 = {2, 8, halves_row, low_product<Fp16Tiles>, nullptr};

}  // namespace attnc_neon
