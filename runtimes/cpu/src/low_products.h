// Products in fewer bits with what every processor of a set has: halves are widened as they are
// read, bytes are multiplied as 16-bit integers. Extensions of a set have files of their own.
#include "low_rows.h"

inline void floats_row(const float* x, Int k, Int, float factor, void* row) {
  float* y = (float*)row;
  for (Int i = 0; i < k; ++i) y[i] = x[i] * factor;
}

template <int R>
inline void half_tile(const char* rows, Int stride, const uint16_t* panel, Int k, float* out) {
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

template <int R>
inline void bytes_tile(const char* rows, Int stride, const int8_t* panel, Int k, float* out) {
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

// `count` rows by tiles of at most R rows.
template <int R>
inline void half_rows(const char* rows, Int stride, const uint16_t* panel, Int k, Int count,
                      float* out) {
  for (; count >= R; count -= R, rows += R * stride, out += R * 16)
    half_tile<R>(rows, stride, panel, k, out);
  if constexpr (R > 1) {
    if (count > 0) half_rows<R / 2>(rows, stride, panel, k, count, out);
  }
}

template <int R>
inline void bytes_rows(const char* rows, Int stride, const int8_t* panel, Int k, Int count,
                       float* out) {
  for (; count >= R; count -= R, rows += R * stride, out += R * 16)
    bytes_tile<R>(rows, stride, panel, k, out);
  if constexpr (R > 1) {
    if (count > 0) bytes_rows<R / 2>(rows, stride, panel, k, count, out);
  }
}

inline void half_product(const void* rows, Int stride, const void* panel, Int k, Int count,
                         float* out) {
  half_rows<kMaxRows[0]>((const char*)rows, stride, (const uint16_t*)panel, k, count, out);
}

inline void bytes_product(const void* rows, Int stride, const void* panel, Int k, Int count,
                          float* out) {
  bytes_rows<kIntRows>((const char*)rows, stride, (const int8_t*)panel, k, count, out);
}

const AttncLow kLowHalf = {4, 1, floats_row, half_product, nullptr};
const AttncLow kLowInt8 = {1, 4, bytes_row, bytes_product, nullptr};
