// The functions of libm that standard operators need, in double inside: errors below one float32 ulp.
#include "engine.h"

namespace engine {
namespace {

double exp_wide(double x) {
  if (x > 709) return __builtin_inf();
  if (x < -745) return 0;
  const double n = __builtin_nearbyint(x * 1.4426950408889634);
  const double r = (x - n * 0.6931471803691238) - n * 1.9082149292705877e-10;
  double term = 1, sum = 1;
  for (int i = 1; i < 14; ++i) sum += term *= r / i;
  const int64_t half = (int64_t)n / 2, rest = (int64_t)n - half;
  const int64_t parts[2] = {half, rest};
  for (const int64_t part : parts) {
    const uint64_t bits = (uint64_t)(part + 1023) << 52;
    double scale;
    __builtin_memcpy(&scale, &bits, 8);
    sum *= scale;
  }
  return sum;
}

double log_wide(double x) {
  if (!(x > 0)) return x == 0 ? -__builtin_inf() : __builtin_nan("");
  if (x > 1.7976931348623157e308) return x;
  uint64_t bits;
  __builtin_memcpy(&bits, &x, 8);
  int64_t exponent = (int64_t)(bits >> 52) - 1023;
  bits = (bits & 0xfffffffffffffULL) | 1023ULL << 52;
  double m;
  __builtin_memcpy(&m, &bits, 8);
  if (m > 1.4142135623730951) {
    m *= 0.5;
    ++exponent;
  }
  const double s = (m - 1) / (m + 1), square = s * s;
  double sum = 0;
  for (int i = 21; i > 0; i -= 2) sum = sum * square + 1.0 / i;
  return 2 * s * sum + (double)exponent * 0.6931471805599453;
}

// Series near 0, continued fraction of erfc beyond.
double erf_wide(double x) {
  const double a = x < 0 ? -x : x;
  double value;
  if (a < 2.5) {
    double term = a, sum = a;
    for (int n = 1; n < 60; ++n) {
      term *= -a * a / n;
      sum += term / (2 * n + 1);
    }
    value = sum * 1.1283791670955126;
  } else {
    double fraction = 0;
    for (int n = 60; n > 0; --n) fraction = n * 0.5 / (a + fraction);
    value = 1 - exp_wide(-a * a) * 0.5641895835477563 / (a + fraction);
  }
  return x < 0 ? -value : x > 0 ? value : x;
}

}  // namespace

float exp_of(float x) { return x != x ? x : (float)exp_wide(x); }
float log_of(float x) { return x != x ? x : (float)log_wide(x); }
float erf_of(float x) { return (float)erf_wide(x); }

float tanh_of(float x) {
  if (x != x) return x;
  const double a = x < 0 ? -(double)x : x;
  if (a < 1e-4) return x;
  const double e = exp_wide(-2 * a), value = (1 - e) / (1 + e);
  return (float)(x < 0 ? -value : value);
}

float pow_of(float x, float y) {
  if (y == 0 || x == 1) return 1;
  if (y == 2) return x * x;
  if (y == 0.5f && x >= 0) return __builtin_sqrtf(x);
  const double a = x < 0 ? -(double)x : x;
  const bool whole = __builtin_floorf(y) == y;
  const bool odd = whole && __builtin_fabsf(y) < 16777216.0f && (int64_t)y % 2 != 0;
  if (x < 0 && !whole) return __builtin_nanf("");
  if (a == 0) return y < 0 ? __builtin_inff() : 0.0f;
  const double value = exp_wide((double)y * log_wide(a));
  return (float)(x < 0 && odd ? -value : value);
}

}  // namespace engine
