// MSA-Conv's attention: qkv [B,H,W,3C] and, where there is a residual, x [B,H,W,C].
#include "ort_ops.h"

namespace ort {
namespace {

const char* shape_of(const Params& p, const Shape* in, Shape* out) {
  if (in[0].rank != 4) return "qkv must have 4 dimensions";
  if (in[0].dims[3] >= 0 && in[0].dims[3] % 3) return "the channels of qkv are no multiple of 3";
  if (p.kernel_shape[0] % 2 == 0 || p.kernel_shape[1] % 2 == 0) return "kernel_shape must be odd";
  out[0] = in[0];
  if (in[0].dims[3] >= 0) out[0].dims[3] = in[0].dims[3] / 3;
  if (in[0].dims[1] == 0 || in[0].dims[2] == 0) return "the map is empty";
  return nullptr;
}

int64_t elements(const Params&, const Shape*, const Shape* out, int) {
  const int64_t* y = out[0].dims;
  return y[0] * y[1] * y[2] * y[3];
}

AttncStatus run(const Call& c, bool residual, bool grid) {
  const int64_t* y = c.y_dims();
  const AttncWindowAttention a = {c.in[0],
                                  residual ? c.in[1] : nullptr,
                                  c.y(),
                                  (Int)y[0],
                                  (Int)y[1],
                                  (Int)y[2],
                                  (Int)y[3],
                                  (Int)c.p->kernel_shape[0],
                                  (Int)c.p->kernel_shape[1],
                                  (Int)c.p->dilations[0],
                                  (Int)c.p->dilations[1],
                                  (Int)c.p->shift,
                                  grid ? (Int)c.p->grid[0] : 0,
                                  grid ? (Int)c.p->grid[1] : 0,
                                  c.p->scale};
  return c.kernels->window_attention_f32(c.host, &a);
}

template <bool Residual, bool Grid>
AttncStatus run_window(const Call& c) {
  return run(c, Residual, Grid);
}

constexpr const char* kNear = "kernel_shape dilations shift scale ";
constexpr const char* kFar = "kernel_shape dilations shift scale grid ";

}  // namespace

const OpInfo kWindowOps[4] = {
    {"WindowAttention", 2, kNear, shape_of, elements, run_window<true, false>},
    {"WindowAttentionBare", 1, kNear, shape_of, elements, run_window<false, false>},
    {"WindowAttentionPooled", 2, kFar, shape_of, elements, run_window<true, true>},
    {"WindowAttentionPooledBare", 1, kFar, shape_of, elements, run_window<false, true>},
};

}  // namespace ort
