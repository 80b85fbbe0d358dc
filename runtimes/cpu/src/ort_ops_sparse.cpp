// Sparsifiner's attention: qkv [B,N,3C], the predictor's weights and, with pruned tokens, which
// are active [B,N].
#include "ort_ops.h"

namespace ort {
namespace {

const char* shape_of(const Params& p, const Shape* in, Shape* out) {
  const Shape &qkv = in[0], &wq = in[1], &wk = in[3], &proj = in[5], &basis = in[6];
  const int64_t width = p.heads * p.dim;
  if (qkv.rank != 3) return "qkv must have 3 dimensions";
  if (!may_equal(qkv.dims[2], 3 * width)) return "the channels of qkv are not 3 * heads * dim";
  if (wq.rank != 2 || wk.rank != 2 || proj.rank != 2 || basis.rank != 2)
    return "the predictor's weights must be matrices";
  if (!may_equal(wq.dims[1], p.dim) || !may_equal(wk.dims[1], p.dim))
    return "the predictor's projections do not take dim channels";
  if (!may_equal(wq.dims[0], wk.dims[0])) return "wq and wk have different widths";
  if (!may_equal(proj.dims[0], qkv.dims[1]) || !may_equal(basis.dims[1], qkv.dims[1]))
    return "the predictor is for another number of tokens";
  if (!may_equal(proj.dims[1], basis.dims[0])) return "proj_n and basis have different ranks";
  if (proj.dims[1] == 0 || wq.dims[0] == 0) return "the predictor has no rank or no width";
  out[0] = {{qkv.dims[0], qkv.dims[1], width}, 3};
  return nullptr;
}

int64_t elements(const Params&, const Shape* in, const Shape*, int i) {
  if (i == 2 || i == 4) return in[1].dims[0];
  return i == 7 ? in[0].dims[0] * in[0].dims[1] : -1;
}

AttncStatus run(const Call& c, const float* active) {
  const Params& p = *c.p;
  const int64_t* x = c.x_dims();
  const AttncSparseAttention a = {c.in[0],
                                  c.in[1],
                                  c.in[2],
                                  c.in[3],
                                  c.in[4],
                                  c.in[5],
                                  c.in[6],
                                  active,
                                  c.y(),
                                  (Int)x[0],
                                  (Int)x[1],
                                  (Int)p.heads,
                                  (Int)p.dim,
                                  (Int)c.in_shapes[1].dims[0],
                                  (Int)c.in_shapes[5].dims[1],
                                  (Int)p.coef_topk,
                                  (Int)p.keep,
                                  (Int)p.prune_rows,
                                  p.coef_threshold,
                                  p.score_threshold,
                                  p.scale,
                                  p.coef_scale};
  return c.kernels->sparse_attention_f32(c.host, &a);
}

AttncStatus run_all(const Call& c) { return run(c, nullptr); }
AttncStatus run_active(const Call& c) { return run(c, c.in[7]); }

}  // namespace

const OpInfo kSparseOps[2] = {
    {"SparseAttention", 7,
     "heads dim coef_topk coef_threshold keep score_threshold scale coef_scale ", shape_of,
     elements, run_all},
    {"SparseAttentionActive", 8,
     "heads dim coef_topk coef_threshold keep score_threshold scale coef_scale prune_rows ",
     shape_of, elements, run_active},
};

}  // namespace ort
