// Shape inference: every dimension that can be known, and names for those that cannot. A bare -1
// would be taken for a literal size, so symbols are always passed on.
#pragma once
#include "ort_attributes.h"

namespace ort {

// The inputs' shapes. Each unknown size gets a number of its own below -1, by which it is known
// again in an output; `names` are the symbols of all sizes.
struct KnownShapes {
  Shape in[kMaxInputs];
  const char* names[kMaxInputs][kMaxRank];
};

inline int64_t tag_of(int input, int axis) { return -2 - input * kMaxRank - axis; }

inline const char* name_of_tag(const KnownShapes& known, int64_t tag) {
  const int64_t at = -2 - tag;
  return known.names[at / kMaxRank][at % kMaxRank];
}

// Fills `known`; `complete` is false where a rank is unknown.
inline OrtStatus* known_shapes(Table api, const OpInfo& op, OrtShapeInferContext* context,
                               KnownShapes* known, bool* complete) {
  *complete = true;
  for (int i = 0; i < op.inputs; ++i) {
    OrtTensorTypeAndShapeInfo* info = nullptr;  // owned by the context
    Shape& shape = known->in[i];
    OrtStatus* s =
        call<OrtStatus*>(api, kShapeInferContext_GetInputTypeShape, context, (size_t)i, &info);
    if (!s) s = call<OrtStatus*>(api, kGetDimensionsCount, info, &shape.rank);
    if (s) return s;
    if (shape.rank == 0 || shape.rank > kMaxRank) {
      *complete = false;
      return nullptr;
    }
    s = call<OrtStatus*>(api, kGetDimensions, info, shape.dims, shape.rank);
    if (!s)
      s = call<OrtStatus*>(api, kGetSymbolicDimensions, info, (const char**)known->names[i],
                           shape.rank);
    if (s) return s;
    for (int axis = 0; axis < (int)shape.rank; ++axis)
      if (shape.dims[axis] < 0) shape.dims[axis] = tag_of(i, axis);
  }
  return nullptr;
}

// The name of an unknown output size: the same function of the same symbol has the same name.
inline void window_name(Text* t, const Params& p, int axis, const char* of) {
  if (!of || !*of) return;
  *t << "attnc.window(" << of << "," << p.kernel_shape[axis] << "," << p.strides[axis] << ","
     << p.dilations[axis] << "," << p.pads[axis] << "," << p.pads[axis + 2] << ")";
}

inline OrtStatus* set_output(Table api, OrtShapeInferContext* context, int index, char type,
                             const Shape& y, const char** names) {
  OrtTensorTypeAndShapeInfo* out = nullptr;
  OrtStatus* s = call<OrtStatus*>(api, kCreateTensorTypeAndShapeInfo, &out);
  if (s) return s;
  s = call<OrtStatus*>(api, kSetTensorElementType, out, (int)element_type(type));
  if (!s) s = call<OrtStatus*>(api, kSetDimensions, out, y.dims, y.rank);
  if (!s) s = call<OrtStatus*>(api, kSetSymbolicDimensions, out, names, y.rank);
  if (!s)
    s = call<OrtStatus*>(api, kShapeInferContext_SetOutputTypeShape, context, (size_t)index, out);
  call<void>(api, kReleaseTensorTypeAndShapeInfo, out);
  return s;
}

// Names of the unknown sizes of an output, -1 in their places. False where one can have no name:
// a size that is computed from an unknown one by anything but a window.
inline bool name_sizes(const OpInfo& op, const Params& p, const KnownShapes& known, Shape* y,
                       Text* windows, const char** names) {
  const bool windowed = has_attribute(op, "kernel_shape") && y->rank == 4;
  const int h = reads_channels_first(op) ? 2 : 1;
  for (int axis = 0; axis < (int)y->rank; ++axis) {
    names[axis] = "";
    if (y->dims[axis] >= 0) continue;
    if (y->dims[axis] < -1) {
      names[axis] = name_of_tag(known, y->dims[axis]);
    } else {
      if (!windowed || (axis != 1 && axis != 2)) return false;
      Text& t = windows[axis - 1];
      t << "";
      window_name(&t, p, axis - 1, known.names[0][h + axis - 1]);
      names[axis] = t.data;
    }
    y->dims[axis] = -1;
  }
  return true;
}

// Announces the outputs of `op`; sizes that are unknown keep or derive their symbols.
inline OrtStatus* infer_shape(Table api, const OpInfo& op, OrtShapeInferContext* context) {
  KnownShapes known = {};
  bool complete;
  OrtStatus* s = known_shapes(api, op, context, &known, &complete);
  if (s || !complete) return s;  // an unknown rank: nothing to say
  Params p;
  s = read_params(api, context, op, &p);
  if (s) return s;
  Shape y[kMaxOutputs] = {};
  if (const char* why = op.shape(p, known.in, y)) {
    Text t;
    for (size_t i = 0; i < known.in[0].rank; ++i)
      if (known.in[0].dims[i] < 0) known.in[0].dims[i] = -1;
    t << "attnc::" << op.name << ": " << why << " for x of shape ";
    return error(api, t.shape(known.in[0].dims, known.in[0].rank));
  }
  for (int i = 0; op.outputs[i]; ++i) {
    Text windows[2];
    const char* names[kMaxRank];
    if (!name_sizes(op, p, known, &y[i], windows, names)) continue;
    s = set_output(api, context, i, op.outputs[i], y[i], names);
    if (s) return s;
  }
  return nullptr;
}

}  // namespace ort
