// Dot products of bytes of Armv8.2 (FEAT_DotProd): sixteen multiply-adds an instruction.
#include "kernels.h"
#include <arm_neon.h>

#define ATTNC_ARM __attribute__((target("arch=armv8.2-a+dotprod")))

namespace attnc_neon {
namespace {

#include "low_rows.h"
#include "low_tiles.h"

struct DotTiles {
  // 24 accumulators, 4 vectors of the panel, the rows' elements in turn.
  static constexpr int kRows = 6, kWidth = 16;

  template <int R>
  ATTNC_ARM static void run(const char* rows, Int stride, const void* given, Int k, float* out) {
    const int8_t* panel = (const int8_t*)given;
    int32x4_t acc[R][4];
    _Pragma("GCC unroll 8") for (int r = 0; r < R; ++r)
        _Pragma("GCC unroll 4") for (int v = 0; v < 4; ++v) acc[r][v] = vdupq_n_s32(0);
    for (Int i = 0; i < k; i += 4, panel += 64) {
      int8x16_t b[4];
      _Pragma("GCC unroll 4") for (int v = 0; v < 4; ++v) b[v] = vld1q_s8(panel + v * 16);
      _Pragma("GCC unroll 8") for (int r = 0; r < R; ++r) {
        int32_t four;
        __builtin_memcpy(&four, rows + r * stride + i, sizeof(four));
        const int8x16_t x = vreinterpretq_s8_s32(vdupq_n_s32(four));
        _Pragma("GCC unroll 4") for (int v = 0; v < 4; ++v) acc[r][v] =
            vdotq_s32(acc[r][v], b[v], x);
      }
    }
    _Pragma("GCC unroll 8") for (int r = 0; r < R; ++r)
        _Pragma("GCC unroll 4") for (int v = 0; v < 4; ++v)
            vst1q_f32(out + r * 16 + v * 4, vcvtq_f32_s32(acc[r][v]));
  }
};

}  // namespace

extern const AttncLow kDot;
const AttncLow kDot = {1, 4, bytes_row, low_product<DotTiles>, nullptr};

}  // namespace attnc_neon
