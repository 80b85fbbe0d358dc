// Operators that move elements and compute nothing.
#include "ops.h"

namespace engine {
namespace {

bool same_dims(const Tensor& a, const Tensor& b) {
  if (a.rank != b.rank) return false;
  for (int i = 0; i < a.rank; ++i)
    if (a.dims[i] != b.dims[i]) return false;
  return true;
}

// Whether a tensor is as large as another but for one axis, of which it has a part from `at` on.
bool is_part(const Tensor& part, const Tensor& all, int axis, Int at) {
  if (part.rank != all.rank || part.type != all.type) return false;
  for (int i = 0; i < part.rank; ++i)
    if (i == axis ? at + part.dims[i] > all.dims[i] : part.dims[i] != all.dims[i]) return false;
  return true;
}

const char* whole(const Tensor& x, const Tensor& y, Strides to, Strides from) {
  copy(y.data, to, x.data, from, y.dims, y.rank, size_of(y.type));
  return nullptr;
}

}  // namespace

const char* op_reshape(const Step& s) {
  const Tensor &x = *s.in[0], &y = *s.out[0];
  if (x.elements != y.elements || x.type != y.type) return kBadShape;
  if (x.data != y.data)
    __builtin_memmove(y.data, x.data, (size_t)(x.elements * size_of(x.type)));
  return nullptr;
}

const char* op_transpose(const Step& s) {
  const Tensor &x = *s.in[0], &y = *s.out[0];
  const Attribute* perm = s.find("perm");
  if (x.rank != y.rank || x.type != y.type) return kBadShape;
  if (perm && perm->count != x.rank) return kBadAttribute;
  const Strides own = dense(x.dims, x.rank);
  Strides from = {};
  unsigned seen = 0;
  for (int i = 0; i < x.rank; ++i) {
    const Int axis = perm ? perm->integer(i) : x.rank - 1 - i;
    if (axis < 0 || axis >= x.rank || y.dims[i] != x.dims[axis]) return kBadAttribute;
    seen |= 1u << axis;
    from.at[i] = own.at[axis];
  }
  if (seen != (1u << x.rank) - 1) return kBadAttribute;
  return whole(x, y, dense(y.dims, y.rank), from);
}

const char* op_expand(const Step& s) {
  const Tensor &x = *s.in[0], &y = *s.out[0];
  Strides from;
  if (x.type != y.type || !broadcast(x, y.dims, y.rank, &from)) return kBadShape;
  return whole(x, y, dense(y.dims, y.rank), from);
}

const char* op_concat(const Step& s) {
  const Tensor& y = *s.out[0];
  const int axis = axis_of(s.integer("axis", 0), y.rank);
  if (axis < 0 || axis >= y.rank) return kBadAttribute;
  const Strides to = dense(y.dims, y.rank);
  const Int size = size_of(y.type);
  Int at = 0;
  for (int k = 0; k < s.inputs; ++k) {
    const Tensor& x = *s.in[k];
    if (!is_part(x, y, axis, at)) return kBadShape;
    copy(y.data + at * to.at[axis] * size, to, x.data, dense(x.dims, x.rank), x.dims, x.rank, size);
    at += x.dims[axis];
  }
  return at == y.dims[axis] ? nullptr : kBadShape;
}

const char* op_split(const Step& s) {
  const Tensor& x = *s.in[0];
  const int axis = axis_of(s.integer("axis", 0), x.rank);
  if (axis < 0 || axis >= x.rank) return kBadAttribute;
  const Strides from = dense(x.dims, x.rank);
  const Int size = size_of(x.type);
  Int at = 0;
  for (int k = 0; k < s.outputs; ++k) {
    const Tensor& y = *s.out[k];
    if (!is_part(y, x, axis, at)) return kBadShape;
    copy(y.data, dense(y.dims, y.rank), x.data + at * from.at[axis] * size, from, y.dims, y.rank,
         size);
    at += y.dims[axis];
  }
  return nullptr;
}

const char* op_slice(const Step& s) {
  const Tensor &x = *s.in[0], &y = *s.out[0];
  const Tensor *starts = s.in[1], *ends = s.in[2], *axes = s.input(3), *steps = s.input(4);
  if (x.rank != y.rank || x.type != y.type || starts->elements != ends->elements) return kBadShape;
  const Strides own = dense(x.dims, x.rank);
  Strides from = own;
  Int begin = 0, sizes[kRank];
  for (int i = 0; i < x.rank; ++i) sizes[i] = x.dims[i];
  for (Int k = 0; k < starts->elements; ++k) {
    const int axis = axis_of(axes ? integer_at(*axes, k) : k, x.rank);
    const int64_t step = steps ? integer_at(*steps, k) : 1;
    if (axis < 0 || axis >= x.rank || step == 0) return kBadIndex;
    const int64_t n = x.dims[axis];
    int64_t first = integer_at(*starts, k), last = integer_at(*ends, k);
    first = clamp_to(first < 0 ? first + n : first, 0, step < 0 ? n - 1 : n);
    last = clamp_to(last < 0 ? last + n : last, step < 0 ? -1 : 0, n);
    const int64_t count = step > 0 ? (last - first + step - 1) / step : (first - last - step - 1) / -step;
    sizes[axis] = count > 0 ? (Int)count : 0;
    begin += (Int)first * own.at[axis];
    from.at[axis] = own.at[axis] * (Int)step;
  }
  for (int i = 0; i < x.rank; ++i)
    if (sizes[i] != y.dims[i]) return kBadShape;
  copy(y.data, dense(y.dims, y.rank), x.data + begin * size_of(x.type), from, y.dims, y.rank,
       size_of(x.type));
  return nullptr;
}

const char* op_tile(const Step& s) {
  const Tensor &x = *s.in[0], &y = *s.out[0];
  if (x.rank != y.rank || x.type != y.type || s.in[1]->elements != x.rank) return kBadShape;
  Int dims[kRank * 2] = {};
  // [a, b] repeated is [ra, a, rb, b] with strides 0 for the repeats, one pair of axes at a time.
  const Strides to = dense(y.dims, y.rank), from = dense(x.dims, x.rank);
  Int places[kRank] = {}, repeats[kRank];
  for (int i = 0; i < x.rank; ++i) {
    repeats[i] = (Int)integer_at(*s.in[1], i);
    if (repeats[i] * x.dims[i] != y.dims[i]) return kBadShape;
    dims[i] = x.dims[i];
  }
  if (y.elements == 0) return nullptr;
  for (;;) {
    Int at = 0;
    for (int i = 0; i < x.rank; ++i) at += places[i] * x.dims[i] * to.at[i];
    copy(y.data + at * size_of(x.type), to, x.data, from, dims, x.rank, size_of(x.type));
    int axis = x.rank - 1;
    while (axis >= 0 && ++places[axis] == repeats[axis]) places[axis--] = 0;
    if (axis < 0) return nullptr;
  }
}

const char* op_pad(const Step& s) {
  const Tensor &x = *s.in[0], &y = *s.out[0];
  const Tensor *pads = s.in[1], *value = s.input(2), *axes = s.input(3);
  const bool constant = !s.find("mode") || s.says("mode", "constant");
  if (x.rank != y.rank || x.type != y.type || x.type != kFloat32) return kBadType;
  const Int named = axes ? axes->elements : x.rank;
  if (pads->elements != 2 * named) return kBadShape;
  Int before[kRank] = {}, behind[kRank] = {};
  for (Int k = 0; k < named; ++k) {
    const int axis = axis_of(axes ? integer_at(*axes, k) : k, x.rank);
    if (axis < 0 || axis >= x.rank) return kBadIndex;
    before[axis] = (Int)integer_at(*pads, k);
    behind[axis] = (Int)integer_at(*pads, k + named);
  }
  const float fill = value ? value->f()[0] : 0.0f;
  const bool reflect = s.says("mode", "reflect"), wrap = s.says("mode", "wrap");
  const Strides own = dense(x.dims, x.rank), to = dense(y.dims, y.rank);
  for (int i = 0; i < x.rank; ++i)
    if (y.dims[i] != x.dims[i] + before[i] + behind[i]) return kBadShape;
  for (Int at = 0; at < y.elements; ++at) {
    Int rest = at, from = 0;
    bool inside = true;
    for (int i = 0; i < x.rank; ++i) {
      const Int n = x.dims[i];
      Int place = rest / to.at[i] - before[i];
      rest %= to.at[i];
      if (place < 0 || place >= n) {
        inside = inside && !constant;
        if (n == 0) return kBadShape;
        if (reflect && n > 1) {
          const Int period = 2 * (n - 1);
          place = ((place % period) + period) % period;
          place = place < n ? place : period - place;
        } else if (wrap) {
          place = ((place % n) + n) % n;
        } else {
          place = place < 0 ? 0 : n - 1;
        }
      }
      from += place * own.at[i];
    }
    y.f()[at] = inside ? x.f()[from] : fill;
  }
  return nullptr;
}

const char* op_gather(const Step& s) {
  const Tensor &x = *s.in[0], &index = *s.in[1], &y = *s.out[0];
  const int axis = axis_of(s.integer("axis", 0), x.rank);
  if (axis < 0 || axis >= x.rank || x.type != y.type) return kBadAttribute;
  if (!is_integers(index)) return kBadType;
  Int outer = 1, inner = size_of(x.type);
  for (int i = 0; i < axis; ++i) outer *= x.dims[i];
  for (int i = axis + 1; i < x.rank; ++i) inner *= x.dims[i];
  if (y.elements * size_of(x.type) != outer * index.elements * inner) return kBadShape;
  for (Int o = 0; o < outer; ++o)
    for (Int k = 0; k < index.elements; ++k) {
      int64_t at = integer_at(index, k);
      at = at < 0 ? at + x.dims[axis] : at;
      if (at < 0 || at >= x.dims[axis]) return kBadIndex;
      __builtin_memcpy(y.data + (o * index.elements + k) * inner,
                       x.data + (o * x.dims[axis] + (Int)at) * inner, (size_t)inner);
    }
  return nullptr;
}

const char* op_range(const Step& s) {
  const Tensor& y = *s.out[0];
  for (int i = 0; i < 3; ++i)
    if (s.in[i]->type != y.type || s.in[i]->elements != 1) return kBadType;
  for (Int i = 0; i < y.elements; ++i) {
    if (y.type == kFloat32)
      y.f()[i] = s.in[0]->f()[0] + (float)i * s.in[2]->f()[0];
    else if (y.type == kInt64)
      y.l()[i] = s.in[0]->l()[0] + i * s.in[2]->l()[0];
    else
      return kBadType;
  }
  return nullptr;
}

const char* op_trilu(const Step& s) {
  const Tensor &x = *s.in[0], &y = *s.out[0];
  if (!same_dims(x, y) || x.rank < 2) return kBadShape;
  if (x.type != kFloat32 || y.type != kFloat32) return kBadType;
  const Int rows = x.dim(-2), columns = x.dim(-1), upper = s.integer("upper", 1);
  const Int k = s.input(1) ? (Int)integer_at(*s.in[1], 0) : 0;
  for (Int at = 0; at < x.elements; ++at) {
    const Int row = at / columns % rows, column = at % columns;
    const bool kept = upper ? column >= row + k : column <= row + k;
    y.f()[at] = kept ? x.f()[at] : 0.0f;
  }
  return nullptr;
}

}  // namespace engine
