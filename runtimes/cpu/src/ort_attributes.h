// Attributes of a node, read at kernel creation or during shape inference into the same struct.
#pragma once
#include "ort_ops.h"

namespace ort {

inline OrtStatus* bad_attribute(Table api, const OpInfo& op, const char* name, const char* why) {
  Text t;
  t << "attnc::" << op.name << ": attribute '" << name << "' " << why;
  return error(api, t);
}

inline bool read_attribute(Table api, const OrtKernelInfo* info, const AttributeSpec& spec,
                           void* at) {
  if (spec.count == 0)
    return !failed(
        api, call<OrtStatus*>(api, kKernelInfoGetAttribute_float, info, spec.name, (float*)at));
  if (spec.count == 1)
    return !failed(
        api, call<OrtStatus*>(api, kKernelInfoGetAttribute_int64, info, spec.name, (int64_t*)at));
  size_t n = (size_t)spec.count;
  int64_t values[4];
  if (failed(api, call<OrtStatus*>(api, kKernelInfoGetAttributeArray_int64, info, spec.name, values,
                                   &n)))
    return false;
  for (size_t i = 0; i < n && n == (size_t)spec.count; ++i) ((int64_t*)at)[i] = values[i];
  return n == (size_t)spec.count;
}

inline bool read_attribute(Table api, OrtShapeInferContext* context, const AttributeSpec& spec,
                           void* at) {
  const OrtOpAttr* attribute = nullptr;
  if (failed(api, call<OrtStatus*>(api, kShapeInferContext_GetAttribute, context, spec.name,
                                   &attribute)))
    return false;
  const int type = spec.count == 0 ? kFloatAttribute : spec.count == 1 ? kInt : kInts;
  const size_t size = spec.count == 0 ? sizeof(float) : (size_t)spec.count * sizeof(int64_t);
  size_t got = 0;
  return !failed(api, call<OrtStatus*>(api, kReadOpAttr, attribute, type, at, size, &got));
}

inline OrtStatus* check_range(Table api, const OpInfo& op, const AttributeSpec& spec,
                              const int64_t* values) {
  for (int i = 0; i < spec.count; ++i) {
    if (values[i] >= spec.low && values[i] <= spec.high) continue;
    Text t;
    t << "attnc::" << op.name << ": attribute '" << spec.name << "' is " << values[i]
      << ", must lie in [" << spec.low << ", " << spec.high << "]";
    return error(api, t);
  }
  return nullptr;
}

template <class Node>
inline OrtStatus* read_params(Table api, Node node, const OpInfo& op, Params* p) {
  *p = default_params();
  for (int i = 0; i < kAttributeCount; ++i) {
    const AttributeSpec& spec = kAttributes[i];
    if (!has_attribute(op, spec.name)) continue;
    void* at = (char*)p + spec.offset;
    if (!read_attribute(api, node, spec, at) && spec.required)
      return bad_attribute(api, op, spec.name, "is missing or of the wrong type or length");
    if (OrtStatus* s = check_range(api, op, spec, (const int64_t*)at)) return s;
  }
  if (const char* why = check_params(op, *p)) {
    Text t;
    t << "attnc::" << op.name << ": " << why;
    return error(api, t);
  }
  return nullptr;
}

}  // namespace ort
