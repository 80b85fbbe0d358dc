// Operators that choose elements, or put them where indices say.
#include "ops.h"

namespace engine {
namespace {

// Whether element a comes before element b among the k best: larger (or smaller), then earlier.
struct Order {
  const float* x;
  Int step;
  bool largest;
  bool operator()(int64_t a, int64_t b) const {
    const float va = x[a * step], vb = x[b * step];
    if (va != vb) return largest ? va > vb : va < vb;
    return a < b;
  }
};

// The k first of n in order, by a heap whose root is the last of those kept.
void choose(const Order& before, Int n, Int k, int64_t* kept) {
  for (Int i = 0; i < n; ++i) {
    Int at;
    if (i < k) {
      for (at = i; at > 0 && before(kept[(at - 1) / 2], i); at = (at - 1) / 2)
        kept[at] = kept[(at - 1) / 2];
      kept[at] = i;
      continue;
    }
    if (k == 0 || !before(i, kept[0])) continue;
    for (at = 0; 2 * at + 1 < k;) {
      Int child = 2 * at + 1;
      if (child + 1 < k && before(kept[child], kept[child + 1])) ++child;
      if (!before(i, kept[child])) break;
      kept[at] = kept[child];
      at = child;
    }
    kept[at] = i;
  }
  for (Int last = k - 1; last > 0; --last) {  // heap sort
    const int64_t moved = kept[last];
    kept[last] = kept[0];
    Int at = 0;
    while (2 * at + 1 < last) {
      Int child = 2 * at + 1;
      if (child + 1 < last && before(kept[child], kept[child + 1])) ++child;
      if (!before(moved, kept[child])) break;
      kept[at] = kept[child];
      at = child;
    }
    kept[at] = moved;
  }
}

bool index_of(const Tensor& index, Int i, Int n, Int* at) {
  int64_t value = integer_at(index, i);
  value = value < 0 ? value + n : value;
  *at = (Int)value;
  return value >= 0 && value < n;
}

// How a scattered element meets what is there.
template <typename T>
void put(T* to, T value, const Step& s) {
  if (s.says("reduction", "add"))
    *to += value;
  else if (s.says("reduction", "mul"))
    *to *= value;
  else if (s.says("reduction", "max"))
    *to = value > *to ? value : *to;
  else if (s.says("reduction", "min"))
    *to = value < *to ? value : *to;
  else
    *to = value;
}

void put_at(const Tensor& y, Int to, const Tensor& x, Int from, const Step& s) {
  if (y.type == kFloat32)
    put(y.f() + to, x.f()[from], s);
  else if (y.type == kInt64)
    put(y.l() + to, x.l()[from], s);
  else if (y.type == kInt32)
    put((int32_t*)y.data + to, ((int32_t*)x.data)[from], s);
  else
    y.data[to] = x.data[from];
}

// Place in x of the tuple `i` of indices over its first axes.
bool tuple(const Tensor& index, Int i, Int depth, const Tensor& x, Int* at) {
  const Strides own = dense(x.dims, x.rank);
  *at = 0;
  for (Int k = 0; k < depth; ++k) {
    Int place;
    if (!index_of(index, i * depth + k, x.dims[k], &place)) return false;
    *at += place * own.at[k];
  }
  return true;
}

}  // namespace

const char* op_top_k(const Step& s) {
  const Tensor &x = *s.in[0], &y = *s.out[0];
  const int axis = axis_of(s.integer("axis", -1), x.rank);
  if (x.type != kFloat32 || y.type != kFloat32) return kBadType;
  if (axis < 0 || axis >= x.rank || y.rank != x.rank) return kBadShape;
  const Tensor* places = s.outputs > 1 ? s.out[1] : nullptr;
  const Int n = x.dims[axis], k = y.dims[axis], inner = dense(x.dims, x.rank).at[axis];
  if (k > n || y.elements != (n ? x.elements / n * k : 0) || (places && (places->type != kInt64 || places->elements != y.elements))) return kBadShape;
  int64_t* kept = (int64_t*)kHost.alloc(kHost.user, (size_t)(k + 1) * sizeof(int64_t));
  if (!kept) return "out of memory";
  for (Int o = 0; n && o < x.elements / n; ++o) {
    const float* from = x.f() + o / inner * n * inner + o % inner;
    choose({from, inner, s.integer("largest", 1) != 0}, n, k, kept);
    for (Int i = 0; i < k; ++i) {
      const Int to = o / inner * k * inner + i * inner + o % inner;
      y.f()[to] = from[kept[i] * inner];
      if (places) places->l()[to] = kept[i];
    }
  }
  kHost.free(kHost.user, kept);
  return nullptr;
}

const char* op_gather_elements(const Step& s) {
  const Tensor &x = *s.in[0], &index = *s.in[1], &y = *s.out[0];
  const int axis = axis_of(s.integer("axis", 0), x.rank);
  if (axis < 0 || axis >= x.rank || index.rank != x.rank || y.elements != index.elements || x.type != y.type)
    return kBadShape;
  const Strides own = dense(x.dims, x.rank), walk = dense(index.dims, index.rank);
  const Int size = size_of(x.type);
  for (Int i = 0; i < index.elements; ++i) {
    Int rest = i, from = 0, place;
    if (!index_of(index, i, x.dims[axis], &place)) return kBadIndex;
    for (int a = 0; a < x.rank; ++a) {
      const Int at = rest / walk.at[a];
      if (at >= x.dims[a] && a != axis) return kBadShape;
      from += (a == axis ? place : at) * own.at[a];
      rest %= walk.at[a];
    }
    __builtin_memcpy(y.data + i * size, x.data + from * size, (size_t)size);
  }
  return nullptr;
}

const char* op_scatter_elements(const Step& s) {
  const Tensor &x = *s.in[0], &index = *s.in[1], &update = *s.in[2], &y = *s.out[0];
  const int axis = axis_of(s.integer("axis", 0), x.rank);
  if (axis < 0 || axis >= x.rank || index.rank != x.rank || y.elements != x.elements ||
      update.elements != index.elements || update.type != x.type || y.type != x.type)
    return kBadShape;
  if (y.data != x.data) __builtin_memmove(y.data, x.data, (size_t)(x.elements * size_of(x.type)));
  const Strides own = dense(x.dims, x.rank), walk = dense(index.dims, index.rank);
  for (Int i = 0; i < index.elements; ++i) {
    Int rest = i, to = 0, place;
    if (!index_of(index, i, x.dims[axis], &place)) return kBadIndex;
    for (int a = 0; a < x.rank; ++a) {
      const Int at = rest / walk.at[a];
      if (at >= x.dims[a] && a != axis) return kBadShape;
      to += (a == axis ? place : at) * own.at[a];
      rest %= walk.at[a];
    }
    put_at(y, to, update, i, s);
  }
  return nullptr;
}

const char* op_gather_nd(const Step& s) {
  const Tensor &x = *s.in[0], &index = *s.in[1], &y = *s.out[0];
  const Int batch = s.integer("batch_dims", 0);
  if (index.rank < 1 || batch < 0 || batch >= index.rank || x.type != y.type) return kBadAttribute;
  const Int depth = index.dim(-1);
  if (depth < 1 || batch + depth > x.rank) return kBadShape;
  Int batches = 1, inner = size_of(x.type);
  for (Int i = 0; i < batch; ++i) batches *= x.dims[i];
  for (int i = (int)(batch + depth); i < x.rank; ++i) inner *= x.dims[i];
  const Int tuples = index.elements / depth;
  if (batches == 0 || tuples % batches || y.elements * size_of(x.type) != tuples * inner) return kBadShape;
  Tensor one = x;
  one.rank = (int)(x.rank - batch);
  for (int i = 0; i < one.rank; ++i) one.dims[i] = x.dims[i + batch];
  one.elements = x.elements / batches;
  for (Int i = 0; i < tuples; ++i) {
    Int at;
    if (!tuple(index, i, depth, one, &at)) return kBadIndex;
    const Int from = i / (tuples / batches) * one.elements + at;
    __builtin_memcpy(y.data + i * inner, x.data + from * size_of(x.type), (size_t)inner);
  }
  return nullptr;
}

const char* op_scatter_nd(const Step& s) {
  const Tensor &x = *s.in[0], &index = *s.in[1], &update = *s.in[2], &y = *s.out[0];
  if (index.rank < 1 || index.dim(-1) < 1 || index.dim(-1) > x.rank) return kBadShape;
  if (x.elements != y.elements || x.type != update.type || x.type != y.type) return kBadShape;
  const Int depth = index.dim(-1), tuples = index.elements / depth;
  Int inner = 1;
  for (int i = (int)depth; i < x.rank; ++i) inner *= x.dims[i];
  if (update.elements != tuples * inner) return kBadShape;
  if (y.data != x.data) __builtin_memmove(y.data, x.data, (size_t)(x.elements * size_of(x.type)));
  for (Int i = 0; i < tuples; ++i) {
    Int to;
    if (!tuple(index, i, depth, x, &to)) return kBadIndex;
    for (Int k = 0; k < inner; ++k) put_at(y, to + k, update, i * inner + k, s);
  }
  return nullptr;
}

const char* op_one_hot(const Step& s) {
  const Tensor &index = *s.in[0], &values = *s.in[2], &y = *s.out[0];
  const int axis = axis_of(s.integer("axis", -1), y.rank);
  if (values.elements != 2 || values.type != y.type) return kBadType;
  if (axis < 0 || axis >= y.rank) return kBadAttribute;
  const Int n = y.dims[axis], inner = dense(y.dims, y.rank).at[axis], size = size_of(y.type);
  if (index.elements * n != y.elements) return kBadShape;
  if (!y.elements) return nullptr;
  for (Int o = 0; o < index.elements; ++o) {
    int64_t hot = integer_at(index, o);
    hot = hot < 0 ? hot + n : hot;
    for (Int k = 0; k < n; ++k) {
      const Int to = o / inner * n * inner + k * inner + o % inner;
      __builtin_memcpy(y.data + to * size, values.data + (k == hot ? size : 0), (size_t)size);
    }
  }
  return nullptr;
}

}  // namespace engine
