// The token-wise linear layers: x of any rank, channels last.
#include "ort_linear.h"

namespace ort {
namespace {

const char* mlp_shape(const Params& p, const Shape* in, Shape* out) {
  if (in[0].rank < 1) return "x must have at least one dimension";
  if (!may_equal(in[0].dims[in[0].rank - 1], p.channels)) return "x has another width than channels";
  out[0] = in[0];
  out[0].dims[out[0].rank - 1] = p.channels;
  return nullptr;
}

int64_t linear_inputs(const Params& p, const Shape* in, const Shape*, int i) {
  const int64_t sizes[] = {packed(last(in[0]), p.out_features), up16(p.out_features), -1};
  return sizes[i - 1];
}

int64_t mlp_inputs(const Params& p, const Shape*, const Shape*, int i) {
  const int64_t sizes[] = {packed(p.channels, p.hidden), up16(p.hidden),
                           packed(p.hidden, p.channels), up16(p.channels)};
  return sizes[i - 1];
}

template <bool Norm, bool Gelu, bool Add>
AttncStatus run_linear(const Call& c) {
  const Shape& x = c.in_shapes[0];
  const AttncLinear a = {c.in[0],      c.in[1],       c.in[2],
                         Add ? c.in[3] : nullptr,     c.y(),
                         (Int)rows(x), (Int)last(x),  (Int)c.p->out_features,
                         Norm,         Gelu,          c.p->epsilon,
                         lower(*c.p),  upper(*c.p)};
  return c.kernels->linear_f32(c.host, &a);
}

AttncStatus run_mlp(const Call& c) {
  const Shape& x = c.in_shapes[0];
  const AttncMlp a = {c.in[0], c.in[1],      c.in[2],      c.in[3],           c.in[4],
                      c.y(),   (Int)rows(x), (Int)last(x), (Int)c.p->hidden, c.p->epsilon};
  return c.kernels->mlp_f32(c.host, &a);
}

}  // namespace

const OpInfo kTokenOps[6] = {
    {"LinearPacked", 3, "out_features min max ", linear_shape, linear_inputs,
     run_linear<false, false, false>},
    {"LinearAddPacked", 4, "out_features min max ", add_shape<3>, linear_inputs,
     run_linear<false, false, true>},
    {"LinearGeluPacked", 3, "out_features ", linear_shape, linear_inputs,
     run_linear<false, true, false>},
    {"NormLinearPacked", 3, "out_features epsilon ", linear_shape, linear_inputs,
     run_linear<true, false, false>},
    {"NormLinearGeluPacked", 3, "out_features epsilon ", linear_shape, linear_inputs,
     run_linear<true, true, false>},
    {"MlpPacked", 5, "hidden channels epsilon ", mlp_shape, mlp_inputs, run_mlp},
};

}  // namespace ort
