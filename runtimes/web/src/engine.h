// The web engine: a program of operators over planned memory (docs/web-engine.md has the format).
// No C library and no C++ library; errors are texts, never traps.
#pragma once
#include <stdint.h>

#include "../../cpu/src/ort_ops.h"

namespace engine {

enum Type { kFloat32 = 0, kInt64 = 1, kInt32 = 2, kBool = 3, kFloat16 = 10 };
constexpr int kRank = 8;

struct Tensor {
  char* data;
  Type type;
  int rank;
  Int dims[kRank];
  Int elements;

  float* f() const { return (float*)data; }
  int64_t* l() const { return (int64_t*)data; }
  Int dim(int axis) const { return dims[axis < 0 ? axis + rank : axis]; }
};

struct Attribute {
  const char* name;
  int kind, count;  // kind: 0 integers, 1 floats, 2 text
  const uint32_t* words;

  Int integer(int i) const { return kind == 1 ? (Int)real(i) : (Int)(int32_t)words[i]; }
  float real(int i) const {
    if (kind != 1) return (float)(int32_t)words[i];
    float value;
    __builtin_memcpy(&value, words + i, 4);
    return value;
  }
};

struct Step;
typedef const char* (*Run)(const Step&);  // null, or what is wrong

struct Step {
  const char* name;
  Run run;
  const Tensor** in;  // null for an absent input
  const Tensor** out;
  int inputs, outputs, attributes;
  const Attribute* attribute;
  const void* fused;  // what fused.cpp has prepared
  const char* text;   // the program's texts, for attributes of kind 2

  const Tensor* input(int i) const { return i < inputs ? in[i] : nullptr; }
  const Attribute* find(const char* wanted) const;
  Int integer(const char* wanted, Int otherwise) const;
  float real(const char* wanted, float otherwise) const;
  bool says(const char* wanted, const char* value) const;
};

// An operator by its name in a program; `least` and `most` are its inputs.
struct Operator {
  const char* name;
  int least, most, outputs;
  Run run;
};

const Operator* standard_operator(int index);  // null past the end
bool same(const char* a, const char* b);

// Fused operators: what is prepared at loading, and run later. Null or what is wrong.
const char* prepare_fused(Step* step, const char* name);
const char* fused_name(int index);  // null past the end

// Host services (host.cpp).
extern const AttncHost kHost;
void* keep(size_t bytes);  // for as long as the program is loaded; null without memory
void begin_scratch();      // everything that was kept so far stays
uint64_t memory_bytes();   // all that there is now

inline Int size_of(Type type) { return type == kInt64 ? 8 : type == kBool ? 1 : 4; }
inline int axis_of(Int axis, int rank) { return (int)(axis < 0 ? axis + rank : axis); }

// A small row-major index space; strides in elements.
struct Strides {
  Int at[kRank];
};
Strides dense(const Int* dims, int rank);
// dst and src walk the same dims with strides of their own; elements of `size` bytes.
void copy(char* dst, const Strides& to, const char* src, const Strides& from, const Int* dims,
          int rank, Int size);
// Strides of `t` seen as a tensor of `rank` dims: 0 where it is broadcast. False if it does not fit.
bool broadcast(const Tensor& t, const Int* dims, int rank, Strides* strides);

float exp_of(float x);
float log_of(float x);
float erf_of(float x);
float tanh_of(float x);
float pow_of(float x, float y);

inline constexpr const char* kBadShape = "its shapes do not fit";
inline constexpr const char* kBadType = "it does not take this type";
inline constexpr const char* kBadAttribute = "an attribute is missing or out of range";
inline constexpr const char* kBadIndex = "an index is out of range";

}  // namespace engine
