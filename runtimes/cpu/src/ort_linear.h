// Shapes of the token-wise linear layers: x of any rank, channels last.
#pragma once
#include "ort_ops.h"

namespace ort {

inline const char* linear_shape(const Params& p, const Shape* in, Shape* out) {
  if (in[0].rank < 1) return "x must have at least one dimension";
  out[0] = in[0];
  out[0].dims[out[0].rank - 1] = p.out_features;
  return nullptr;
}

// With a residual as input R.
template <int R>
inline const char* add_shape(const Params& p, const Shape* in, Shape* out) {
  if (const char* wrong = linear_shape(p, in, out)) return wrong;
  if (in[R].rank != out[0].rank) return "r has another rank than the result";
  for (size_t i = 0; i < out[0].rank; ++i)
    if (!may_equal(in[R].dims[i], out[0].dims[i])) return "r has another shape than the result";
  return nullptr;
}

inline int64_t last(const Shape& s) { return s.dims[s.rank - 1]; }

inline int64_t rows(const Shape& s) {
  int64_t n = 1;
  for (size_t i = 0; i + 1 < s.rank; ++i) n *= s.dims[i];
  return n;
}

}  // namespace ort
