// Shape inference: every dimension that can be known, and names for those that cannot. A bare -1
// would be taken for a literal size, so symbols are always passed on.
#pragma once
#include "ort_attributes.h"

namespace ort {

// The name of an unknown output size: the same function of the same symbol has the same name.
inline void window_name(Text* t, const Params& p, int axis, const char* of) {
  if (!of || !*of) return;
  *t << "attnc.window(" << of << "," << p.kernel_shape[axis] << "," << p.strides[axis] << ","
     << p.dilations[axis] << "," << p.pads[axis] << "," << p.pads[axis + 2] << ")";
}

inline OrtStatus* set_output(Table api, OrtShapeInferContext* context, const Shape& y,
                             const char** names) {
  OrtTensorTypeAndShapeInfo* out = nullptr;
  OrtStatus* s = call<OrtStatus*>(api, kCreateTensorTypeAndShapeInfo, &out);
  if (s) return s;
  s = call<OrtStatus*>(api, kSetTensorElementType, out, (int)kFloat);
  if (!s) s = call<OrtStatus*>(api, kSetDimensions, out, y.dims, y.rank);
  if (!s) s = call<OrtStatus*>(api, kSetSymbolicDimensions, out, names, y.rank);
  if (!s) s = call<OrtStatus*>(api, kShapeInferContext_SetOutputTypeShape, context, (size_t)0, out);
  call<void>(api, kReleaseTensorTypeAndShapeInfo, out);
  return s;
}

// Announces the output of `op`; sizes that are unknown keep or derive their symbols.
inline OrtStatus* infer_shape(Table api, const OpInfo& op, OrtShapeInferContext* context) {
  OrtTensorTypeAndShapeInfo* in = nullptr;  // owned by the context
  OrtStatus* s =
      call<OrtStatus*>(api, kShapeInferContext_GetInputTypeShape, context, (size_t)0, &in);
  size_t rank = 0;
  if (!s) s = call<OrtStatus*>(api, kGetDimensionsCount, in, &rank);
  if (s || rank != kMaxRank) return s;  // an unknown rank: nothing to say
  int64_t x[kMaxRank];
  const char* names[kMaxRank] = {"", "", "", ""};
  s = call<OrtStatus*>(api, kGetDimensions, in, x, rank);
  if (!s) s = call<OrtStatus*>(api, kGetSymbolicDimensions, in, names, rank);
  Params p;
  if (!s) s = read_params(api, context, op, &p);
  if (s) return s;
  Shape y;
  if (!op.shape(p, x, &y)) {
    Text t;
    t << "attnc::" << op.name << ": x of shape ";
    t.shape(x, rank) << " does not fit; the output would be ";
    return error(api, t.shape(y.dims, y.rank));
  }
  const bool windowed = has_attribute(op, "kernel_shape");
  const int h = op.shape == kOpInfos[0].shape ? 2 : 1;
  Text height, width;
  height << "";
  width << "";
  if (windowed) {
    window_name(&height, p, 0, names[h]);
    window_name(&width, p, 1, names[h + 1]);
  }
  const char* out[kMaxRank] = {names[0], windowed ? height.data : names[1],
                               windowed ? width.data : names[2], ""};
  for (size_t i = 0; i < y.rank; ++i)
    if (y.dims[i] >= 0) out[i] = "";
  return set_output(api, context, y, out);
}

}  // namespace ort
