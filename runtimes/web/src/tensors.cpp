// Steps and tensors: attributes by name, strided copies, broadcasting.
#include "engine.h"

namespace engine {

bool same(const char* a, const char* b) {
  for (; *a && *a == *b; ++a, ++b) {
  }
  return *a == *b;
}

const Attribute* Step::find(const char* wanted) const {
  for (int i = 0; i < attributes; ++i)
    if (same(attribute[i].name, wanted)) return &attribute[i];
  return nullptr;
}

Int Step::integer(const char* wanted, Int otherwise) const {
  const Attribute* a = find(wanted);
  return a && a->kind == 0 && a->count > 0 ? a->integer(0) : otherwise;
}

float Step::real(const char* wanted, float otherwise) const {
  const Attribute* a = find(wanted);
  return a && a->kind != 2 && a->count > 0 ? a->real(0) : otherwise;
}

bool Step::says(const char* wanted, const char* value) const {
  const Attribute* a = find(wanted);
  return a && a->kind == 2 && a->count == 1 && same(text + a->words[0], value);
}

Strides dense(const Int* dims, int rank) {
  Strides made = {};
  Int step = 1;
  for (int i = rank - 1; i >= 0; --i) {
    made.at[i] = step;
    step *= dims[i];
  }
  return made;
}

bool broadcast(const Tensor& t, const Int* dims, int rank, Strides* strides) {
  const Strides own = dense(t.dims, t.rank);
  *strides = {};
  if (t.rank > rank) return false;
  for (int i = 0; i < t.rank; ++i) {
    const int axis = rank - t.rank + i;
    if (t.dims[i] != 1 && t.dims[i] != dims[axis]) return false;
    strides->at[axis] = t.dims[i] == 1 ? 0 : own.at[i];
  }
  return true;
}

namespace {

// Neighbouring axes that both sides walk as one become one.
int merge(Int* dims, Strides* to, Strides* from, int rank) {
  int kept = 0;
  for (int i = 0; i < rank; ++i) {
    if (dims[i] == 1) continue;
    const bool joins = kept > 0 && to->at[kept - 1] == to->at[i] * dims[i] &&
                       from->at[kept - 1] == from->at[i] * dims[i];
    if (joins) {
      dims[kept - 1] *= dims[i];
    } else {
      dims[kept++] = dims[i];
    }
    to->at[kept - 1] = to->at[i];
    from->at[kept - 1] = from->at[i];
  }
  return kept;
}

template <typename T>
void copy_line(T* dst, Int to, const T* src, Int from, Int n) {
  if (to == 1 && from == 1)
    __builtin_memcpy(dst, src, (size_t)n * sizeof(T));
  else
    for (Int i = 0; i < n; ++i) dst[i * to] = src[i * from];
}

template <typename T>
void copy_axes(T* dst, const Int* to, const T* src, const Int* from, const Int* dims, int rank) {
  if (rank == 0) {
    *dst = *src;
  } else if (rank == 1) {
    copy_line(dst, to[0], src, from[0], dims[0]);
  } else {
    for (Int i = 0; i < dims[0]; ++i)
      copy_axes(dst + i * to[0], to + 1, src + i * from[0], from + 1, dims + 1, rank - 1);
  }
}

}  // namespace

void copy(char* dst, const Strides& to, const char* src, const Strides& from, const Int* dims,
          int rank, Int size) {
  Int sizes[kRank];
  Strides a = to, b = from;
  for (int i = 0; i < rank; ++i) {
    if (dims[i] == 0) return;
    sizes[i] = dims[i];
  }
  const int merged = merge(sizes, &a, &b, rank);
  if (size == 4)
    copy_axes((uint32_t*)dst, a.at, (const uint32_t*)src, b.at, sizes, merged);
  else if (size == 8)
    copy_axes((uint64_t*)dst, a.at, (const uint64_t*)src, b.at, sizes, merged);
  else
    copy_axes(dst, a.at, src, b.at, sizes, merged);
}

}  // namespace engine
