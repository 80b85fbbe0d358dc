// Every attribute of every operator: where it goes, whether it is needed, what it may be.
#include "ort_ops.h"

namespace ort {
namespace {

constexpr int64_t kWide = 1 << 24;

bool same(const char* a, const char* b, size_t n) {
  for (size_t i = 0; i < n; ++i)
    if (a[i] != b[i] || !a[i]) return false;
  return a[n] == 0;
}

}  // namespace

#define ATTNC_AT(name) #name, offsetof(Params, name)
const AttributeSpec kAttributes[] = {
    {ATTNC_AT(out_channels), 1, true, 1, kWide},
    {ATTNC_AT(channels), 1, true, 1, kWide},
    {ATTNC_AT(hidden), 1, true, 1, kWide},
    {ATTNC_AT(reduced), 1, true, 1, kWide},
    {ATTNC_AT(dim_qk), 1, true, 1, kWide},
    {ATTNC_AT(dim_v), 1, true, 1, kWide},
    {ATTNC_AT(out_features), 1, true, 1, kWide},
    {ATTNC_AT(in_features), 1, true, 1, kWide},
    {ATTNC_AT(heads), 1, true, 1, kWide},
    {ATTNC_AT(q_at), 1, true, 0, kWide},
    {ATTNC_AT(k_at), 1, true, 0, kWide},
    {ATTNC_AT(v_at), 1, true, 0, kWide},
    {ATTNC_AT(keep), 1, true, 0, kWide},
    {ATTNC_AT(fuse), 1, true, 0, 1},
    {ATTNC_AT(shift), 1, true, 0, kWide},
    {ATTNC_AT(dim), 1, true, 1, kWide},
    {ATTNC_AT(coef_topk), 1, true, 1, kWide},
    {ATTNC_AT(prune_rows), 1, true, 0, 1},
    {ATTNC_AT(kernel_shape), 2, true, 1, 255},
    {ATTNC_AT(strides), 2, false, 1, 4096},
    {ATTNC_AT(pads), 4, false, 0, 4096},
    {ATTNC_AT(dilations), 2, false, 1, 4096},
    {ATTNC_AT(grid), 2, true, 1, 4096},
    {ATTNC_AT(epsilon), 0, true, 0, 0},
    {ATTNC_AT(scale), 0, true, 0, 0},
    {ATTNC_AT(coef_threshold), 0, true, 0, 0},
    {ATTNC_AT(score_threshold), 0, true, 0, 0},
    {ATTNC_AT(coef_scale), 0, true, 0, 0},
    {ATTNC_AT(min), 0, false, 0, 0},
    {ATTNC_AT(max), 0, false, 0, 0},
};
#undef ATTNC_AT
const int kAttributeCount = sizeof(kAttributes) / sizeof(kAttributes[0]);

Params default_params() {
  Params p = {};
  for (int i = 0; i < 2; ++i) p.kernel_shape[i] = p.strides[i] = p.dilations[i] = p.grid[i] = 1;
  p.epsilon = 1e-5f;
  p.scale = 1.0f;
  p.min = -kFloatMax;
  p.max = kFloatMax;
  return p;
}

bool has_attribute(const OpInfo& op, const char* name) {
  size_t n = 0;
  for (const char* at = op.attributes; at[n];) {
    for (n = 0; at[n] != ' ';) ++n;
    if (same(name, at, n)) return true;
    at += n + 1;
    n = 0;
  }
  return false;
}

const char* check_params(const OpInfo& op, const Params& p) {
  if (!(p.min <= p.max)) return "min must not exceed max";
  if (has_attribute(op, "channels") && has_attribute(op, "dim_v") && p.dim_v > p.channels)
    return "dim_v must not exceed channels";
  if (!(p.epsilon >= 0)) return "epsilon must not be negative";
  return nullptr;
}

}  // namespace ort
