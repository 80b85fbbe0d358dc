// One element at a time: functions, arithmetic, comparisons, choices.
#include "ops.h"

namespace engine {
namespace {

bool same_type(const Tensor& a, const Tensor& b) { return a.type == b.type; }

// Calls f(element of y, elements of a and b) along broadcast axes.
template <typename A, typename Y, typename F>
void walk(const Tensor& a, const Strides& sa, const Tensor& b, const Strides& sb, const Tensor& y,
          F f) {
  const A *pa = (const A*)a.data, *pb = (const A*)b.data;
  Y* py = (Y*)y.data;
  const int last = y.rank - 1;
  const Int n = y.rank ? y.dims[last] : 1, ia = y.rank ? sa.at[last] : 0, ib = y.rank ? sb.at[last] : 0;
  Int at[kRank] = {};
  for (Int done = 0; done < y.elements; done += n) {
    if (ia == 1 && ib == 1)
      for (Int i = 0; i < n; ++i) py[done + i] = f(pa[i], pb[i]);
    else if (ia == 1 && ib == 0)
      for (Int i = 0; i < n; ++i) py[done + i] = f(pa[i], *pb);
    else
      for (Int i = 0; i < n; ++i) py[done + i] = f(pa[i * ia], pb[i * ib]);
    for (int axis = last - 1; axis >= 0; --axis) {
      pa += sa.at[axis];
      pb += sb.at[axis];
      if (++at[axis] < y.dims[axis]) break;
      pa -= sa.at[axis] * y.dims[axis];
      pb -= sb.at[axis] * y.dims[axis];
      at[axis] = 0;
    }
  }
}

template <typename A, typename Y, typename F>
const char* pairwise(const Step& s, F f) {
  const Tensor &a = *s.in[0], &b = *s.in[1], &y = *s.out[0];
  Strides sa, sb;
  if (!broadcast(a, y.dims, y.rank, &sa) || !broadcast(b, y.dims, y.rank, &sb)) return kBadShape;
  if (y.elements) walk<A, Y>(a, sa, b, sb, y, f);
  return nullptr;
}

template <typename T>
T divide(T a, T b) {
  return b == 0 ? 0 : b == -1 ? (T)(0 - (uint64_t)a) : a / b;  // the least number has no opposite
}
template <>
float divide(float a, float b) {
  return a / b;
}

// The rest with the sign of the divisor, or with `fmod` of the dividend.
template <typename T>
T rest(T a, T b, bool of_dividend) {
  if (b == 0) return 0;
  const T r = a % b;
  return !of_dividend && r != 0 && (r < 0) != (b < 0) ? r + b : r;
}
template <>
float rest(float a, float b, bool of_dividend) {
  const float r = a - b * __builtin_truncf(a / b);
  return !of_dividend && r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

template <typename T>
const char* arithmetic(const Step& s) {
  const char* name = s.name;
  const bool of_dividend = s.integer("fmod", 0) != 0;
  if (same(name, "Add")) return pairwise<T, T>(s, [](T a, T b) { return (T)(a + b); });
  if (same(name, "Sub")) return pairwise<T, T>(s, [](T a, T b) { return (T)(a - b); });
  if (same(name, "Mul")) return pairwise<T, T>(s, [](T a, T b) { return (T)(a * b); });
  if (same(name, "Div")) return pairwise<T, T>(s, [](T a, T b) { return divide<T>(a, b); });
  if (same(name, "Mod"))
    return pairwise<T, T>(s, [of_dividend](T a, T b) { return rest<T>(a, b, of_dividend); });
  return pairwise<T, T>(s, [](T a, T b) { return (T)pow_of((float)a, (float)b); });
}

template <typename T>
const char* comparison(const Step& s) {
  const char* name = s.name;
  if (same(name, "Equal")) return pairwise<T, bool>(s, [](T a, T b) { return a == b; });
  if (same(name, "Greater")) return pairwise<T, bool>(s, [](T a, T b) { return a > b; });
  if (same(name, "GreaterOrEqual")) return pairwise<T, bool>(s, [](T a, T b) { return a >= b; });
  if (same(name, "Less")) return pairwise<T, bool>(s, [](T a, T b) { return a < b; });
  return pairwise<T, bool>(s, [](T a, T b) { return a <= b; });
}

template <typename F>
void each(const Tensor& x, const Tensor& y, F f) {
  const float* from = x.f();
  float* to = y.f();
  for (Int i = 0; i < x.elements; ++i) to[i] = f(from[i]);
}

float sigmoid(float x) { return 1.0f / (1.0f + exp_of(-x)); }
float within(float x, float low, float high) { return x < low ? low : x > high ? high : x; }
float gelu(float x) { return 0.5f * x * (1.0f + erf_of(x * 0.70710678f)); }
float gelu_tanh(float x) {
  return 0.5f * x * (1.0f + tanh_of(0.7978845608f * (x + 0.044715f * x * x * x)));
}

template <typename T>
const char* extreme(const Step& s, bool largest) {
  const Tensor& y = *s.out[0];
  Strides first;
  if (!broadcast(*s.in[0], y.dims, y.rank, &first)) return kBadShape;
  copy(y.data, dense(y.dims, y.rank), s.in[0]->data, first, y.dims, y.rank, sizeof(T));
  for (int k = 1; k < s.inputs; ++k) {
    const Tensor& x = *s.in[k];
    Strides from;
    if (x.type != y.type || !broadcast(x, y.dims, y.rank, &from)) return kBadShape;
    if (!y.elements) continue;
    const Strides own = dense(y.dims, y.rank);
    if (largest)
      walk<T, T>(y, own, x, from, y, [](T a, T b) { return b > a || b != b ? b : a; });
    else
      walk<T, T>(y, own, x, from, y, [](T a, T b) { return b < a || b != b ? b : a; });
  }
  return nullptr;
}

template <typename T, typename Y>
void convert(const Tensor& x, const Tensor& y) {
  for (Int i = 0; i < x.elements; ++i) ((Y*)y.data)[i] = (Y)((const T*)x.data)[i];
}

template <typename T>
void convert_to(const Tensor& x, const Tensor& y) {
  if (y.type == kFloat32) return convert<T, float>(x, y);
  if (y.type == kInt64) return convert<T, int64_t>(x, y);
  if (y.type == kInt32) return convert<T, int32_t>(x, y);
  for (Int i = 0; i < x.elements; ++i) y.data[i] = ((const T*)x.data)[i] != 0;
}

}  // namespace

const char* op_unary(const Step& s) {
  const Tensor &x = *s.in[0], &y = *s.out[0];
  const char* n = s.name;
  if (x.elements != y.elements) return kBadShape;
  if (x.type != kFloat32 || y.type != kFloat32) return kBadType;
  const float alpha = s.real("alpha", same(n, "LeakyRelu") ? 0.01f : 0.2f), beta = s.real("beta", 0.5f);
  const bool by_tanh = s.says("approximate", "tanh");
  if (same(n, "Abs")) return each(x, y, [](float v) { return __builtin_fabsf(v); }), nullptr;
  if (same(n, "Ceil")) return each(x, y, [](float v) { return __builtin_ceilf(v); }), nullptr;
  if (same(n, "Erf")) return each(x, y, erf_of), nullptr;
  if (same(n, "Exp")) return each(x, y, exp_of), nullptr;
  if (same(n, "Floor")) return each(x, y, [](float v) { return __builtin_floorf(v); }), nullptr;
  if (same(n, "Gelu")) return each(x, y, by_tanh ? gelu_tanh : gelu), nullptr;
  if (same(n, "HardSigmoid"))
    return each(x, y, [=](float v) { return within(alpha * v + beta, 0, 1); }), nullptr;
  if (same(n, "HardSwish"))
    return each(x, y, [](float v) { return v * within(v / 6 + 0.5f, 0, 1); }), nullptr;
  if (same(n, "LeakyRelu"))
    return each(x, y, [=](float v) { return v < 0 ? alpha * v : v; }), nullptr;
  if (same(n, "Log")) return each(x, y, log_of), nullptr;
  if (same(n, "Neg")) return each(x, y, [](float v) { return -v; }), nullptr;
  if (same(n, "Reciprocal")) return each(x, y, [](float v) { return 1.0f / v; }), nullptr;
  if (same(n, "Relu")) return each(x, y, [](float v) { return v < 0 ? 0.0f : v; }), nullptr;
  if (same(n, "Round")) return each(x, y, [](float v) { return __builtin_nearbyintf(v); }), nullptr;
  if (same(n, "Sigmoid")) return each(x, y, sigmoid), nullptr;
  if (same(n, "Sqrt")) return each(x, y, [](float v) { return __builtin_sqrtf(v); }), nullptr;
  return each(x, y, tanh_of), nullptr;
}

const char* op_binary(const Step& s) {
  const Tensor &a = *s.in[0], &b = *s.in[1];
  if (!same_type(a, b) || !same_type(a, *s.out[0])) return kBadType;
  if (a.type == kFloat32) return arithmetic<float>(s);
  if (a.type == kInt64) return arithmetic<int64_t>(s);
  return a.type == kInt32 ? arithmetic<int32_t>(s) : kBadType;
}

const char* op_extreme(const Step& s) {
  const Tensor& x = *s.in[0];
  if (!same_type(x, *s.out[0])) return kBadType;
  const bool largest = same(s.name, "Max");
  if (x.type == kFloat32) return extreme<float>(s, largest);
  if (x.type == kInt64) return extreme<int64_t>(s, largest);
  return x.type == kInt32 ? extreme<int32_t>(s, largest) : kBadType;
}

const char* op_compare(const Step& s) {
  const Tensor &a = *s.in[0], &b = *s.in[1];
  if (!same_type(a, b) || s.out[0]->type != kBool) return kBadType;
  if (a.type == kFloat32) return comparison<float>(s);
  if (a.type == kInt64) return comparison<int64_t>(s);
  return a.type == kInt32 ? comparison<int32_t>(s) : comparison<bool>(s);
}

const char* op_logic(const Step& s) {
  for (int i = 0; i < s.inputs; ++i)
    if (s.in[i]->type != kBool) return kBadType;
  const Tensor& y = *s.out[0];
  if (y.type != kBool) return kBadType;
  if (same(s.name, "And")) return pairwise<bool, bool>(s, [](bool a, bool b) { return a && b; });
  if (same(s.name, "Or")) return pairwise<bool, bool>(s, [](bool a, bool b) { return a || b; });
  if (s.in[0]->elements != y.elements) return kBadShape;
  for (Int i = 0; i < y.elements; ++i) y.data[i] = !s.in[0]->data[i];
  return nullptr;
}

const char* op_where(const Step& s) {
  const Tensor &c = *s.in[0], &a = *s.in[1], &b = *s.in[2], &y = *s.out[0];
  Strides sc, sa, sb;
  if (c.type != kBool || !same_type(a, b) || !same_type(a, y)) return kBadType;
  if (!broadcast(c, y.dims, y.rank, &sc) || !broadcast(a, y.dims, y.rank, &sa) ||
      !broadcast(b, y.dims, y.rank, &sb))
    return kBadShape;
  const Strides own = dense(y.dims, y.rank);
  const Int size = size_of(y.type);
  for (Int i = 0; i < y.elements; ++i) {
    Int rest = i, at[3] = {};
    for (int axis = 0; axis < y.rank; ++axis) {
      const Int place = rest / own.at[axis];
      rest %= own.at[axis];
      at[0] += place * sc.at[axis];
      at[1] += place * sa.at[axis];
      at[2] += place * sb.at[axis];
    }
    const char* from = c.data[at[0]] ? a.data + at[1] * size : b.data + at[2] * size;
    __builtin_memcpy(y.data + i * size, from, (size_t)size);
  }
  return nullptr;
}

const char* op_cast(const Step& s) {
  const Tensor &x = *s.in[0], &y = *s.out[0];
  if (x.elements != y.elements) return kBadShape;
  if (x.type == kFloat32)
    convert_to<float>(x, y);
  else if (x.type == kInt64)
    convert_to<int64_t>(x, y);
  else if (x.type == kInt32)
    convert_to<int32_t>(x, y);
  else
    convert_to<bool>(x, y);
  return nullptr;
}

const char* op_clip(const Step& s) {
  const Tensor &x = *s.in[0], &y = *s.out[0];
  if (x.elements != y.elements) return kBadShape;
  if (x.type != kFloat32 || y.type != kFloat32) return kBadType;
  for (int i = 1; i < 3; ++i)
    if (s.input(i) && (s.in[i]->type != kFloat32 || s.in[i]->elements != 1)) return kBadType;
  const float low = s.input(1) ? s.in[1]->f()[0] : -__builtin_inff();
  const float high = s.input(2) ? s.in[2]->f()[0] : __builtin_inff();
  each(x, y, [=](float v) { return within(v, low, high); });
  return nullptr;
}

}  // namespace engine
