// Products in fewer bits with what every processor of a set has: halves are widened as they are
// read, bytes are multiplied as 16-bit integers. Extensions of a set have files of their own.
#include "low_rows.h"
#include "low_tiles.h"

inline void floats_row(const float* x, Int k, Int, float factor, void* row) {
  float* y = (float*)row;
  for (Int i = 0; i < k; ++i) y[i] = x[i] * factor;
}

struct HalfTiles {
  static constexpr int kRows = kMaxRows[0], kWidth = 16;

  template <int R>
  static void run(const char* rows, Int stride, const void* given, Int k, float* out) {
    const uint16_t* panel = (const uint16_t*)given;
    V acc[R][kVecs];
    const float* a[R];
    ATTNC_UNROLL
    for (int r = 0; r < R; ++r) {
      a[r] = (const float*)(rows + r * stride);
      ATTNC_UNROLL
      for (int v = 0; v < kVecs; ++v) acc[r][v] = set1(0.0f);
    }
    _Pragma("GCC unroll 1") for (Int i = 0; i < k; ++i, panel += 16) {
      V b[kVecs];
      ATTNC_UNROLL
      for (int v = 0; v < kVecs; ++v) b[v] = load_half(panel + v * W);
      ATTNC_UNROLL
      for (int r = 0; r < R; ++r) {
        const V x = set1(a[r][i]);
        ATTNC_UNROLL
        for (int v = 0; v < kVecs; ++v) acc[r][v] = fma(x, b[v], acc[r][v]);
      }
    }
    ATTNC_UNROLL
    for (int r = 0; r < R; ++r) ATTNC_UNROLL
    for (int v = 0; v < kVecs; ++v) store(out + r * 16 + v * W, acc[r][v]);
  }
};

struct BytesTiles {
  static constexpr int kRows = kIntRows, kWidth = 16;

  template <int R>
  static void run(const char* rows, Int stride, const void* given, Int k, float* out) {
    const int8_t* panel = (const int8_t*)given;
    Ints acc[R][kIntVecs];
    ATTNC_UNROLL
    for (int r = 0; r < R; ++r) ATTNC_UNROLL
    for (int v = 0; v < kIntVecs; ++v) acc[r][v] = no_ints();
    _Pragma("GCC unroll 1") for (Int i = 0; i < k; i += 4, panel += 64) {
      Wide b[kIntVecs];
      ATTNC_UNROLL
      for (int v = 0; v < kIntVecs; ++v) b[v] = load_wide(panel + v * (64 / kIntVecs));
      ATTNC_UNROLL
      for (int r = 0; r < R; ++r) {
        const Wide x = spread_wide((const int8_t*)rows + r * stride + i);
        ATTNC_UNROLL
        for (int v = 0; v < kIntVecs; ++v) acc[r][v] = add_products(acc[r][v], b[v], x);
      }
    }
    ATTNC_UNROLL
    for (int r = 0; r < R; ++r) store_sums(acc[r], out + r * 16);
  }
};

const AttncLow kLowHalf = {4, 1, floats_row, low_product<HalfTiles>, nullptr};
const AttncLow kLowInt8 = {1, 4, bytes_row, low_product<BytesTiles>, nullptr};
