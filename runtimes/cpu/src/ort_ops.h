// The custom operators: attributes, shapes, and which kernel each of them calls.
#pragma once
#include "dispatch.h"
#include "ort_text.h"

namespace ort {

constexpr int kMaxInputs = 12;
constexpr int kMaxOutputs = 3;
constexpr int kMaxRank = 5;

struct Params {  // every attribute that any operator has
  int64_t out_channels, channels, hidden, reduced, dim_qk, dim_v, out_features, in_features;
  int64_t heads, q_at, k_at, v_at, keep, fuse, shift;
  int64_t dim, coef_topk, prune_rows;
  int64_t kernel_shape[2], strides[2], pads[4], dilations[2], grid[2];
  float epsilon, min, max, scale, coef_threshold, score_threshold, coef_scale;
};

struct Shape {  // an unknown size is negative
  int64_t dims[kMaxRank];
  size_t rank;
};

// Attributes are described once; a reader fills Params from a kernel's or an inference's node.
struct AttributeSpec {
  const char* name;
  size_t offset;      // in Params
  int count;          // integers; 0 = one float
  bool required;      // else the default stays
  int64_t low, high;  // what integers may be
};

struct Call {  // one invocation: shapes are already checked
  const AttncHost* host;
  const AttncKernels* kernels;
  const Params* p;
  const Shape* in_shapes;
  const Shape* out_shapes;
  const float* in[kMaxInputs];  // an int64 tensor is cast by its operator
  void* out[kMaxOutputs];

  const int64_t* x_dims() const { return in_shapes[0].dims; }
  const int64_t* y_dims() const { return out_shapes[0].dims; }
  float* y() const { return (float*)out[0]; }
};

struct OpInfo {
  const char* name;
  int inputs;
  const char* attributes;  // names, each followed by a space
  // Fills the outputs' shapes from the inputs'; null, or what does not fit. An unknown size may be
  // copied to an output as it is; a size that is computed from an unknown one is -1.
  const char* (*shape)(const Params&, const Shape* in, Shape* out);
  // Elements that input i (from 1) must have, or -1 if any will do.
  int64_t (*elements)(const Params&, const Shape* in, const Shape* out, int i);
  AttncStatus (*run)(const Call&);
  const char* outputs = "f";  // one letter per output: f float, l int64
  // The same for the inputs, and h half, b 8-bit integers; those past its end are floats.
  const char* types = "";
};

inline ElementType element_type(char letter) {
  return letter == 'l' ? kInt64 : letter == 'h' ? kFloat16 : letter == 'b' ? kInt8 : kFloat;
}

// The operators, by file.
#define ATTNC_OP_FILES(F) \
  F(kMapOps, 16)          \
  F(kSlotOps, 4)          \
  F(kTokenOps, 6)         \
  F(kWindowOps, 4)        \
  F(kSparseOps, 2)        \
  F(kHeadOps, 3)

// And those that WebAssembly does not have.
#define ATTNC_ALL_OP_FILES(F) \
  ATTNC_OP_FILES(F)           \
  F(kLowOps, 10)

#define ATTNC_DECLARE_OPS(name, count) extern const OpInfo name[count];
ATTNC_ALL_OP_FILES(ATTNC_DECLARE_OPS)
#undef ATTNC_DECLARE_OPS

extern const AttributeSpec kAttributes[];
extern const int kAttributeCount;

Params default_params();
// Whether the height of the first input is its axis 2, not 1.
bool reads_channels_first(const OpInfo& op);
bool has_attribute(const OpInfo& op, const char* name);
// Null, or what is wrong with attributes that depend on each other.
const char* check_params(const OpInfo& op, const Params& p);

inline int64_t up16(int64_t n) { return (n + 15) / 16 * 16; }
// Elements of a matrix [k, n] in panels.
inline int64_t packed(int64_t k, int64_t n) { return up16(n) * k; }

// Whether two sizes can be the same; an unknown one fits anything.
inline bool may_equal(int64_t a, int64_t b) { return a < 0 || b < 0 || a == b; }

constexpr float kFloatMax = 3.4028234663852886e38f;
// "No bound" is written as the largest float; infinities must pass it unchanged.
inline float lower(const Params& p) { return p.min <= -kFloatMax ? -__builtin_inff() : p.min; }
inline float upper(const Params& p) { return p.max >= kFloatMax ? __builtin_inff() : p.max; }

}  // namespace ort
