// Sums, extremes and the like along axes.
#include "ops.h"

namespace engine {
namespace {

enum Kind { kMean, kSum, kMax, kMin, kProduct, kLength };

Kind kind_of(const char* name) {
  constexpr const char* kNames[] = {"ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd"};
  for (int i = 0; i < 5; ++i)
    if (same(name, kNames[i])) return (Kind)i;
  return kLength;
}

double begin(Kind kind, double first) {
  return kind == kMax || kind == kMin ? first : kind == kProduct ? 1 : 0;
}

double step(Kind kind, double a, double x) {
  switch (kind) {
    case kMax:
      return x > a || x != x ? x : a;
    case kMin:
      return x < a || x != x ? x : a;
    case kProduct:
      return a * x;
    case kLength:
      return a + x * x;
    default:
      return a + x;
  }
}

double end(Kind kind, double a, Int n) {
  return kind == kMean ? a / (double)n : kind == kLength ? __builtin_sqrt(a) : a;
}

// Bit i is set where axis i is reduced. False for an axis that is not there.
bool reduced_axes(const Step& s, const Tensor& x, unsigned* mask) {
  const Tensor* axes = s.input(1);
  const Attribute* given = s.find("axes");
  const Int n = axes ? axes->elements : given ? given->count : 0;
  *mask = n == 0 && !s.integer("noop_with_empty_axes", 0) ? (1u << x.rank) - 1 : 0;
  for (Int i = 0; i < n; ++i) {
    const int axis = axis_of(axes ? integer_at(*axes, i) : given->integer((int)i), x.rank);
    if (axis < 0 || axis >= x.rank) return false;
    *mask |= 1u << axis;
  }
  return true;
}

template <typename T>
void reduce(const Tensor& x, const Tensor& y, unsigned mask, Kind kind) {
  Int kept[kRank], gone[kRank], kept_step[kRank], gone_step[kRank];
  const Strides own = dense(x.dims, x.rank);
  int nk = 0, ng = 0;
  Int count = 1;
  for (int i = 0; i < x.rank; ++i) {
    if (mask >> i & 1) {
      gone[ng] = x.dims[i];
      gone_step[ng++] = own.at[i];
      count *= x.dims[i];
    } else {
      kept[nk] = x.dims[i];
      kept_step[nk++] = own.at[i];
    }
  }
  for (Int o = 0; o < y.elements; ++o) {
    Int base = 0;
    for (Int rest = o, i = nk - 1; i >= 0; --i) {
      base += rest % kept[i] * kept_step[i];
      rest /= kept[i];
    }
    const T* from = (const T*)x.data + base;
    double total = begin(kind, count ? (double)from[0] : 0);
    for (Int k = 0; k < count; ++k) {
      Int at = 0;
      for (Int rest = k, i = ng - 1; i >= 0; --i) {
        at += rest % gone[i] * gone_step[i];
        rest /= gone[i];
      }
      total = step(kind, total, (double)from[at]);
    }
    ((T*)y.data)[o] = (T)end(kind, total, count);
  }
}

}  // namespace

const char* op_reduce(const Step& s) {
  const Tensor &x = *s.in[0], &y = *s.out[0];
  unsigned mask;
  if (x.type != y.type) return kBadType;
  if (!reduced_axes(s, x, &mask)) return kBadAttribute;
  Int left = 1;
  for (int i = 0; i < x.rank; ++i) left *= mask >> i & 1 ? 1 : x.dims[i];
  if (left != y.elements) return kBadShape;
  const Kind kind = kind_of(s.name);
  if (x.type == kFloat32)
    reduce<float>(x, y, mask, kind);
  else if (x.type == kInt64)
    reduce<int64_t>(x, y, mask, kind);
  else if (x.type == kInt32)
    reduce<int32_t>(x, y, mask, kind);
  else
    return kBadType;
  return nullptr;
}

const char* op_arg_max(const Step& s) {
  const Tensor &x = *s.in[0], &y = *s.out[0];
  const int axis = axis_of(s.integer("axis", 0), x.rank);
  if (x.type != kFloat32 || y.type != kInt64) return kBadType;
  if (axis < 0 || axis >= x.rank || x.dims[axis] == 0) return kBadAttribute;
  const bool last = s.integer("select_last_index", 0) != 0;
  const Int n = x.dims[axis], inner = dense(x.dims, x.rank).at[axis];
  if (y.elements * n != x.elements) return kBadShape;
  for (Int o = 0; o < y.elements; ++o) {
    const float* from = x.f() + o / inner * n * inner + o % inner;
    Int best = 0;
    for (Int i = 1; i < n; ++i)
      if (from[i * inner] > from[best * inner] || (last && from[i * inner] == from[best * inner]))
        best = i;
    y.l()[o] = best;
  }
  return nullptr;
}

const char* op_cum_sum(const Step& s) {
  const Tensor &x = *s.in[0], &y = *s.out[0];
  const int axis = axis_of((Int)integer_at(*s.in[1], 0), x.rank);
  if (x.type != kFloat32 || y.type != kFloat32) return kBadType;
  if (axis < 0 || axis >= x.rank || x.elements != y.elements) return kBadShape;
  const bool exclusive = s.integer("exclusive", 0), reverse = s.integer("reverse", 0);
  const Int n = x.dims[axis], inner = dense(x.dims, x.rank).at[axis];
  for (Int o = 0; n && o < x.elements / n; ++o) {
    const Int base = o / inner * n * inner + o % inner;
    double total = 0;
    for (Int k = 0; k < n; ++k) {
      const Int at = base + (reverse ? n - 1 - k : k) * inner;
      const double value = x.f()[at];
      y.f()[at] = (float)(exclusive ? total : total + value);
      total += value;
    }
  }
  return nullptr;
}

}  // namespace engine
