// Multi-head attention and token selection on packed channels: query and memory [B,N,*].
#include "ort_ops.h"

namespace ort {
namespace {

// Whether `heads` heads of `width` channels from `at` on lie inside the last axis.
bool holds(const Params& p, const Shape& value, int64_t at, int64_t width) {
  return value.dims[2] < 0 || at + p.heads * width <= value.dims[2];
}

// The conditions that all three share; `query` and `memory` are places among the inputs.
const char* check(const Params& p, const Shape* in, int query, int memory) {
  const Shape &q = in[query], &m = in[memory];
  if (q.rank != 3 || m.rank != 3) return "query and memory must have 3 dimensions";
  if (!may_equal(q.dims[0], m.dims[0])) return "query and memory have different batch sizes";
  if (!holds(p, q, p.q_at, p.dim_qk)) return "the query has too few channels";
  if (!holds(p, m, p.k_at, p.dim_qk)) return "the memory has too few channels";
  return m.dims[1] == 0 ? "there are no tokens to attend to" : nullptr;
}

const char* attention_shape(const Params& p, const Shape* in, Shape* out) {
  if (const char* wrong = check(p, in, 0, 1)) return wrong;
  if (!holds(p, in[1], p.v_at, p.dim_v)) return "the memory has too few channels";
  out[0] = {{in[0].dims[0], in[0].dims[1], p.heads * p.dim_v}, 3};
  return nullptr;
}

// `n` is the class token and what comes after it; `count` is how many of those are kept.
const char* check_kept(int64_t n, int64_t count, int64_t fuse) {
  if (n < 0 || count < 0) return nullptr;
  if (n < 1 || count > n - 1) return "more tokens are kept than there are";
  return fuse && count < 1 ? "no token is kept" : nullptr;
}

const char* selected_shape(const Params& p, const Shape* in, Shape* out) {
  if (const char* wrong = attention_shape(p, in, out)) return wrong;
  const Shape &index = in[2], &weights = in[3];
  if (index.rank != 2 || weights.rank != 2) return "index and weights must have 2 dimensions";
  const int64_t batch = in[0].dims[0], rows = in[0].dims[1], kept = index.dims[1];
  if (!may_equal(batch, index.dims[0]) || !may_equal(batch, weights.dims[0]))
    return "index and weights have another batch size than the query";
  if (rows >= 0 && !may_equal(rows - 1, weights.dims[1])) return "there is no weight for each token";
  if (const char* wrong = check_kept(rows, kept, p.fuse)) return wrong;
  out[0].dims[1] = kept < 0 ? -1 : 1 + kept + p.fuse;
  return nullptr;
}

const char* select_shape(const Params& p, const Shape* in, Shape* out) {
  if (const char* wrong = check(p, in, 1, 2)) return wrong;
  const Shape &x = in[0], &memory = in[2], &bias = in[3];
  if (x.rank != 3 || bias.rank != 1) return "x must have 3 dimensions and bias one";
  if (!may_equal(x.dims[0], memory.dims[0]) || !may_equal(x.dims[1], memory.dims[1]))
    return "x and memory have different batch sizes or tokens";
  if (!may_equal(x.dims[2], bias.dims[0])) return "bias has another width than x";
  if (const char* wrong = check_kept(x.dims[1], p.keep, p.fuse)) return wrong;
  if (in[1].dims[1] == 0) return "the query has no rows";
  out[0] = {{x.dims[0], 1 + p.keep + p.fuse, x.dims[2]}, 3};
  out[1] = {{x.dims[0], p.keep}, 2};
  out[2] = {{x.dims[0], x.dims[1] < 0 ? -1 : x.dims[1] - 1}, 2};
  return nullptr;
}

int64_t any(const Params&, const Shape*, const Shape*, int) { return -1; }

AttncMha arguments(const Call& c) {
  const int64_t *q = c.in_shapes[0].dims, *m = c.in_shapes[1].dims;
  const Params& p = *c.p;
  AttncMha a = {};
  a.query = c.in[0];
  a.memory = c.in[1];
  a.y = c.y();
  a.batch = q[0];
  a.m = q[1];
  a.n = m[1];
  a.ldq = q[2];
  a.ldm = m[2];
  a.heads = p.heads;
  a.dim_qk = p.dim_qk;
  a.dim_v = p.dim_v;
  a.q_at = p.q_at;
  a.k_at = p.k_at;
  a.v_at = p.v_at;
  a.scale = p.scale;
  return a;
}

AttncStatus run_attention(const Call& c) {
  const AttncMha a = arguments(c);
  return c.kernels->mha_f32(c.host, &a);
}

AttncStatus run_selected(const Call& c) {
  AttncMha a = arguments(c);
  a.index = (const int64_t*)c.in[2];
  a.weights = c.in[3];
  a.kept = c.in_shapes[2].dims[1];
  a.fuse = c.p->fuse;
  return c.kernels->mha_f32(c.host, &a);
}

AttncStatus run_select(const Call& c) {
  const int64_t *x = c.in_shapes[0].dims, *q = c.in_shapes[1].dims, *m = c.in_shapes[2].dims;
  const Params& p = *c.p;
  const AttncSelect a = {c.in[0],        c.in[1],
                         c.in[2],        c.in[3],
                         c.y(),          (int64_t*)c.out[1],
                         (float*)c.out[2], (Int)x[0],
                         (Int)q[1],      (Int)x[1],
                         (Int)x[2],      (Int)q[2],
                         (Int)m[2],      (Int)p.heads,
                         (Int)p.dim_qk,  (Int)p.q_at,
                         (Int)p.k_at,    (Int)p.keep,
                         (Int)p.fuse,    p.scale};
  return c.kernels->select_tokens_f32(c.host, &a);
}

constexpr const char* kHeads = "heads dim_qk dim_v q_at k_at v_at scale ";
constexpr const char* kKept = "heads dim_qk dim_v q_at k_at v_at scale fuse ";
constexpr const char* kScores = "heads dim_qk q_at k_at scale keep fuse ";

}  // namespace

const OpInfo kHeadOps[3] = {
    {"Attention", 2, kHeads, attention_shape, any, run_attention},
    {"SelectedAttention", 4, kKept, selected_shape, any, run_selected, "f", "ffl"},
    {"SelectTokens", 4, kScores, select_shape, any, run_select, "flf"},
};

}  // namespace ort
