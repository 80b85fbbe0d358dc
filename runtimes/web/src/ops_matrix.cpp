// Products and normalisations of rows. Fused operators have the fast ones; these are for the rest.
#include <wasm_simd128.h>

#include "ops.h"

namespace engine {
namespace {

// y[m, n] = a[m, k] b[k, n], strides of b in rows; four columns of sums at a time.
void product(const float* a, Int a_row, Int a_step, const float* b, Int b_row, float* y, Int m,
             Int n, Int k) {
  for (Int i = 0; i < m; ++i) {
    const float* row = a + i * a_row;
    Int j = 0;
    for (; j + 16 <= n; j += 16) {
      v128_t s[4] = {};
      for (Int p = 0; p < k; ++p) {
        const v128_t x = wasm_f32x4_splat(row[p * a_step]);
        for (int v = 0; v < 4; ++v)
          s[v] = wasm_f32x4_add(s[v], wasm_f32x4_mul(x, wasm_v128_load(b + p * b_row + j + v * 4)));
      }
      for (int v = 0; v < 4; ++v) wasm_v128_store(y + i * n + j + v * 4, s[v]);
    }
    for (; j < n; ++j) {
      float sum = 0;
      for (Int p = 0; p < k; ++p) sum += row[p * a_step] * b[p * b_row + j];
      y[i * n + j] = sum;
    }
  }
}

struct Product {
  const float *a, *b;
  float* y;
  Int a_row, a_step, b_row, n, k, m;
};

constexpr Int kRows = 16;

void product_task(void* arg, size_t index) {
  const Product& p = *(const Product*)arg;
  const Int first = (Int)index * kRows, rows = p.m - first < kRows ? p.m - first : kRows;
  product(p.a + first * p.a_row, p.a_row, p.a_step, p.b, p.b_row, p.y + first * p.n, rows, p.n, p.k);
}

void multiply(const Product& p) {
  kHost.parallel_for(kHost.user, (size_t)((p.m + kRows - 1) / kRows), product_task, (void*)&p);
}

struct Moments {
  double mean, scale;
};

Moments moments(const float* x, Int n, double epsilon) {
  double sum = 0, square = 0;
  for (Int i = 0; i < n; ++i) sum += x[i];
  const double mean = sum / (double)n;
  for (Int i = 0; i < n; ++i) square += (x[i] - mean) * (x[i] - mean);
  return {mean, 1 / __builtin_sqrt(square / (double)n + epsilon)};
}

bool floats(const Step& s) {
  for (int i = 0; i < s.inputs; ++i)
    if (s.in[i] && s.in[i]->type != kFloat32) return false;
  return s.out[0]->type == kFloat32;
}

}  // namespace

const char* op_matmul(const Step& s) {
  const Tensor &a = *s.in[0], &b = *s.in[1], &y = *s.out[0];
  if (!floats(s)) return kBadType;
  if (a.rank < 2 || b.rank < 2 || y.rank < 2) return "a product with a vector is not supported";
  const Int m = a.dim(-2), k = a.dim(-1), n = b.dim(-1);
  if (b.dim(-2) != k || y.dim(-2) != m || y.dim(-1) != n) return kBadShape;
  Tensor left = a, right = b;
  left.rank -= 2;
  right.rank -= 2;
  Strides sa, sb;
  const int rank = y.rank - 2;
  if (!broadcast(left, y.dims, rank, &sa) || !broadcast(right, y.dims, rank, &sb)) return kBadShape;
  if (!y.elements) return nullptr;
  for (Int o = 0; o < y.elements / (m * n); ++o) {
    Int ia = 0, ib = 0;
    for (Int rest = o, axis = rank - 1; axis >= 0; --axis) {
      ia += rest % y.dims[axis] * sa.at[axis];
      ib += rest % y.dims[axis] * sb.at[axis];
      rest /= y.dims[axis];
    }
    multiply({a.f() + ia * m * k, b.f() + ib * k * n, y.f() + o * m * n, k, 1, n, n, k, m});
  }
  return nullptr;
}

const char* op_gemm(const Step& s) {
  const Tensor &a = *s.in[0], &b = *s.in[1], &y = *s.out[0];
  const Tensor* c = s.input(2);
  if (!floats(s)) return kBadType;
  const bool ta = s.integer("transA", 0), tb = s.integer("transB", 0);
  if (a.rank != 2 || b.rank != 2 || y.rank != 2) return kBadShape;
  const Int m = a.dims[ta], k = a.dims[!ta], n = b.dims[!tb];
  Strides sc = {};
  if (b.dims[tb] != k || y.dims[0] != m || y.dims[1] != n) return kBadShape;
  if (c && !broadcast(*c, y.dims, 2, &sc)) return kBadShape;
  const float* right = b.f();
  float* turned = nullptr;
  if (tb) {
    turned = (float*)kHost.alloc(kHost.user, (size_t)(k * n) * sizeof(float));
    if (!turned) return "out of memory";
    const Int dims[2] = {k, n};
    copy((char*)turned, {{n, 1}}, b.data, {{1, k}}, dims, 2, 4);
    right = turned;
  }
  multiply({a.f(), right, y.f(), ta ? 1 : k, ta ? m : 1, n, n, k, m});
  const float alpha = s.real("alpha", 1), beta = s.real("beta", 1);
  for (Int i = 0; i < m; ++i)
    for (Int j = 0; j < n; ++j) {
      const float added = c ? beta * c->f()[i * sc.at[0] + j * sc.at[1]] : 0.0f;
      y.f()[i * n + j] = alpha * y.f()[i * n + j] + added;
    }
  if (turned) kHost.free(kHost.user, turned);
  return nullptr;
}

const char* op_softmax(const Step& s) {
  const Tensor &x = *s.in[0], &y = *s.out[0];
  const int axis = axis_of(s.integer("axis", -1), x.rank);
  if (!floats(s)) return kBadType;
  if (axis < 0 || axis >= x.rank || x.elements != y.elements) return kBadShape;
  const bool logarithm = same(s.name, "LogSoftmax");
  const Int n = x.dims[axis], inner = dense(x.dims, x.rank).at[axis];
  for (Int o = 0; n && o < x.elements / n; ++o) {
    const Int base = o / inner * n * inner + o % inner;
    const float* from = x.f() + base;
    float* to = y.f() + base;
    float top = from[0];
    for (Int i = 1; i < n; ++i) top = from[i * inner] > top ? from[i * inner] : top;
    double sum = 0;
    for (Int i = 0; i < n; ++i) {
      const float value = from[i * inner] - top, e = exp_of(value);
      to[i * inner] = logarithm ? value : e;
      sum += e;
    }
    const float shift = log_of((float)sum), scale = (float)(1 / sum);
    for (Int i = 0; i < n; ++i)
      to[i * inner] = logarithm ? to[i * inner] - shift : to[i * inner] * scale;
  }
  return nullptr;
}

const char* op_layer_norm(const Step& s) {
  const Tensor &x = *s.in[0], &scale = *s.in[1], &y = *s.out[0];
  const Tensor* bias = s.input(2);
  if (!floats(s)) return kBadType;
  const int axis = axis_of(s.integer("axis", -1), x.rank);
  if (axis < 0 || axis >= x.rank || x.elements != y.elements) return kBadShape;
  Int n = 1;
  for (int i = axis; i < x.rank; ++i) n *= x.dims[i];
  if (scale.elements != n || (bias && bias->elements != n)) return kBadShape;
  for (Int row = 0; n && row < x.elements / n; ++row) {
    const float* from = x.f() + row * n;
    float* to = y.f() + row * n;
    const Moments m = moments(from, n, s.real("epsilon", 1e-5f));
    const float mean = (float)m.mean, factor = (float)m.scale;
    for (Int i = 0; i < n; ++i)
      to[i] = (from[i] - mean) * factor * scale.f()[i] + (bias ? bias->f()[i] : 0.0f);
  }
  return nullptr;
}

// InstanceNormalization is the same with as many groups as channels.
const char* op_group_norm(const Step& s) {
  const Tensor &x = *s.in[0], &scale = *s.in[1], &bias = *s.in[2], &y = *s.out[0];
  if (!floats(s)) return kBadType;
  if (x.rank < 2 || x.elements != y.elements) return kBadShape;
  const Int channels = x.dims[1];
  const Int groups = same(s.name, "GroupNormalization") ? s.integer("num_groups", 0) : channels;
  if (groups < 1 || channels % groups || !x.elements) return x.elements ? kBadAttribute : nullptr;
  const Int plane = x.elements / x.dims[0] / channels, each = channels / groups;
  const bool per_group = scale.elements == groups && groups != channels;
  if (scale.elements != bias.elements || (!per_group && scale.elements != channels)) return kBadShape;
  for (Int g = 0; g < x.dims[0] * groups; ++g) {
    const float* from = x.f() + g * each * plane;
    const Moments m = moments(from, each * plane, s.real("epsilon", 1e-5f));
    for (Int i = 0; i < each * plane; ++i) {
      const Int c = per_group ? g % groups : g % groups * each + i / plane;
      const double value = (from[i] - m.mean) * m.scale;
      y.f()[g * each * plane + i] = (float)value * scale.f()[c] + bias.f()[c];
    }
  }
  return nullptr;
}

const char* op_batch_norm(const Step& s) {
  const Tensor &x = *s.in[0], &y = *s.out[0];
  if (!floats(s)) return kBadType;
  if (x.rank < 2 || x.elements != y.elements) return kBadShape;
  const Int channels = x.dims[1];
  for (int i = 1; i < 5; ++i)
    if (s.in[i]->elements != channels) return kBadShape;
  const Int plane = x.elements ? x.elements / x.dims[0] / channels : 0;
  for (Int at = 0; at < x.elements; ++at) {
    const Int c = at / plane % channels;
    const float factor = s.in[1]->f()[c] / __builtin_sqrtf(s.in[4]->f()[c] + s.real("epsilon", 1e-5f));
    y.f()[at] = (x.f()[at] - s.in[3]->f()[c]) * factor + s.in[2]->f()[c];
  }
  return nullptr;
}

}  // namespace engine
