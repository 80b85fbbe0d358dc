// The custom operators: attributes, shapes, and which kernel each of them calls.
#pragma once
#include "dispatch.h"
#include "ort_text.h"

namespace ort {

constexpr int kMaxInputs = 11;
constexpr int kMaxRank = 4;

struct Params {  // every attribute that any operator has
  int64_t out_channels, channels, hidden, reduced, dim_qk, dim_v, out_features;
  int64_t kernel_shape[2], strides[2], pads[4], dilations[2];
  float epsilon, min, max;
};

struct Shape {
  int64_t dims[kMaxRank];
  size_t rank;
};

// Attributes are described once; a reader fills Params from a kernel's or an inference's node.
struct AttributeSpec {
  const char* name;
  size_t offset;  // in Params
  int count;      // integers; 0 = one float
  bool required;  // else the default stays
};

struct Call {  // one invocation: shapes are already checked
  const AttncHost* host;
  const AttncKernels* kernels;
  const Params* p;
  const int64_t* x_dims;
  const int64_t* y_dims;
  const float* in[kMaxInputs];
  float* y;
};

struct OpInfo {
  const char* name;
  int inputs;
  const char* attributes;  // names, each followed by a space
  // Output shape for input shape x; unknown dimensions are -1 and stay so.
  bool (*shape)(const Params&, const int64_t* x, Shape* y);
  // Elements that input i (from 1) must have, or -1 if any will do.
  int64_t (*elements)(const Params&, const int64_t* x, const int64_t* y, int i);
  AttncStatus (*run)(const Call&);
};

constexpr int kOps = 9;
extern const OpInfo kOpInfos[kOps];
extern const AttributeSpec kAttributes[];
extern const int kAttributeCount;

Params default_params();
bool has_attribute(const OpInfo& op, const char* name);
// Null, or what is wrong with the attributes.
const char* check_params(const OpInfo& op, const Params& p);

}  // namespace ort
