// GLMix's slots: x [B,L,C], slots [B or 1,S,C], logits [B,L,S]; and pooling of a map to a grid.
#include "ort_ops.h"

namespace ort {
namespace {

int64_t any_size(const Params&, const Shape*, const Shape*, int) { return -1; }

const char* pool_shape(const Params& p, const Shape* in, Shape* out) {
  const int64_t* x = in[0].dims;
  if (in[0].rank != 4) return "x must have 4 dimensions";
  out[0] = {{x[0], p.grid[0] * p.grid[1], x[3]}, 3};
  return x[1] && x[2] ? nullptr : "the map is empty";
}

AttncStatus run_pool(const Call& c) {
  const int64_t* x = c.x_dims();
  const AttncGridPool a = {c.in[0],   c.y(),     (Int)x[0],         (Int)x[1],
                           (Int)x[2], (Int)x[3], (Int)c.p->grid[0], (Int)c.p->grid[1]};
  return c.kernels->grid_pool_f32(c.host, &a);
}

const char* cluster_shape(const Params&, const Shape* in, Shape* out) {
  const int64_t *x = in[0].dims, *slots = in[1].dims;
  if (in[0].rank != 3 || in[1].rank != 3) return "x and slots must have 3 dimensions";
  if (!may_equal(x[2], slots[2])) return "x and slots have different widths";
  if (slots[0] != 1 && !may_equal(slots[0], x[0])) return "x and slots have different batches";
  if (!x[1] || !x[2] || !slots[1]) return "there are no tokens, no slots or no channels";
  out[0] = {{x[0], slots[1], x[2]}, 3};
  out[1] = {{x[0], x[1], slots[1]}, 3};
  return nullptr;
}

AttncStatus run_cluster(const Call& c) {
  const int64_t *x = c.x_dims(), *slots = c.in_shapes[1].dims;
  const AttncSlotCluster a = {c.in[0],   c.in[1],       c.y(),     (float*)c.out[1], (Int)x[0],
                              (Int)slots[0], (Int)x[1], (Int)slots[1], (Int)x[2],    c.p->scale};
  return c.kernels->slot_cluster_f32(c.host, &a);
}

const char* dispatch_shape(const Params&, const Shape* in, Shape* out) {
  const int64_t *logits = in[0].dims, *slots = in[1].dims;
  if (in[0].rank != 3 || in[1].rank != 3) return "logits and slots must have 3 dimensions";
  if (!may_equal(logits[0], slots[0]) || !may_equal(logits[2], slots[1]))
    return "logits and slots do not fit together";
  if (!logits[1] || !slots[1] || !slots[2]) return "there are no tokens, no slots or no channels";
  out[0] = {{logits[0], logits[1], slots[2]}, 3};
  return nullptr;
}

int64_t residual_size(const Params&, const Shape*, const Shape* out, int i) {
  return i == 2 ? out[0].dims[0] * out[0].dims[1] * out[0].dims[2] : -1;
}

AttncStatus run_dispatch(const Call& c, const float* residual) {
  const int64_t *logits = c.x_dims(), *y = c.y_dims();
  const AttncSlotDispatch a = {c.in[0],   c.in[1],        residual,       c.y(),
                               (Int)y[0], (Int)y[1], (Int)logits[2], (Int)y[2]};
  return c.kernels->slot_dispatch_f32(c.host, &a);
}

AttncStatus run_plain_dispatch(const Call& c) { return run_dispatch(c, nullptr); }
AttncStatus run_dispatch_add(const Call& c) { return run_dispatch(c, c.in[2]); }

}  // namespace

const OpInfo kSlotOps[4] = {
    {"GridPool", 1, "grid ", pool_shape, any_size, run_pool},
    {"SlotCluster", 2, "scale ", cluster_shape, any_size, run_cluster, "ff"},
    {"SlotDispatch", 2, "", dispatch_shape, any_size, run_plain_dispatch},
    {"SlotDispatchAdd", 3, "", dispatch_shape, residual_size, run_dispatch_add},
};

}  // namespace ort
