// Linear layers with weights in fewer bits (inputs x, w, f, b and perhaps r).
#include "ort_linear.h"

namespace ort {
namespace {

// A weight of 8 bits does not tell K, as it is filled up to fours.
const char* bytes_shape(const Params& p, const Shape* in, Shape* out) {
  if (in[0].rank >= 1 && !may_equal(last(in[0]), p.in_features))
    return "x has another width than in_features";
  return linear_shape(p, in, out);
}

const char* bytes_add_shape(const Params& p, const Shape* in, Shape* out) {
  if (const char* wrong = bytes_shape(p, in, out)) return wrong;
  return add_shape<4>(p, in, out);
}

template <AttncBits Bits>
int64_t low_inputs(const Params& p, const Shape* in, const Shape*, int i) {
  const int64_t k = last(in[0]), filled = Bits == kAttncInt8 ? (k + 3) / 4 * 4 : k;
  const int64_t sizes[] = {packed(filled, p.out_features), up16(p.out_features),
                           up16(p.out_features), -1};
  return sizes[i - 1];
}

template <AttncBits Bits, bool Norm, bool Gelu, bool Add>
AttncStatus run_low(const Call& c) {
  const Shape& x = c.in_shapes[0];
  const AttncLinearLow a = {c.kernels->low[Bits],
                            c.in[0],
                            c.in[1],
                            c.in[2],
                            c.in[3],
                            Add ? c.in[4] : nullptr,
                            c.y(),
                            (Int)rows(x),
                            (Int)last(x),
                            (Int)c.p->out_features,
                            Norm,
                            Gelu,
                            Bits,
                            c.p->epsilon,
                            lower(*c.p),
                            upper(*c.p)};
  return c.kernels->linear_low(c.host, &a);
}

#define ATTNC_LOW(name, inputs, attributes, shape, bits, norm, gelu, add, types)         \
  {name,  inputs, attributes, shape, low_inputs<bits>, run_low<bits, norm, gelu, add>, "f", \
   types}
#define ATTNC_HALF(name, inputs, attributes, shape, ...) \
  ATTNC_LOW(name, inputs, attributes, shape, kAttncHalf, __VA_ARGS__, "fh")
#define ATTNC_INT8(name, inputs, attributes, shape, ...) \
  ATTNC_LOW(name, inputs, "in_features " attributes, shape, kAttncInt8, __VA_ARGS__, "fb")

}  // namespace

const OpInfo kLowOps[10] = {
    ATTNC_HALF("LinearHalf", 4, "out_features min max ", linear_shape, false, false, false),
    ATTNC_HALF("LinearAddHalf", 5, "out_features min max ", add_shape<4>, false, false, true),
    ATTNC_HALF("LinearGeluHalf", 4, "out_features ", linear_shape, false, true, false),
    ATTNC_HALF("NormLinearHalf", 4, "out_features epsilon ", linear_shape, true, false, false),
    ATTNC_HALF("NormLinearGeluHalf", 4, "out_features epsilon ", linear_shape, true, true, false),
    ATTNC_INT8("LinearInt8", 4, "out_features min max ", bytes_shape, false, false, false),
    ATTNC_INT8("LinearAddInt8", 5, "out_features min max ", bytes_add_shape, false, false, true),
    ATTNC_INT8("LinearGeluInt8", 4, "out_features ", bytes_shape, false, true, false),
    ATTNC_INT8("NormLinearInt8", 4, "out_features epsilon ", bytes_shape, true, false, false),
    ATTNC_INT8("NormLinearGeluInt8", 4, "out_features epsilon ", bytes_shape, true, true, false),
};

}  // namespace ort
