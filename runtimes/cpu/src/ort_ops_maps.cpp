// The operators on feature maps: convolutions, SHViT's blocks, the pooled head.
#include "ort_ops.h"

namespace ort {
namespace {

int64_t window(const Params& p, int axis, int64_t size) {
  if (size < 0) return -1;
  const int64_t reach = p.dilations[axis] * (p.kernel_shape[axis] - 1) + 1;
  const int64_t room = size + p.pads[axis] + p.pads[axis + 2] - reach;
  return room < 0 ? 0 : room / p.strides[axis] + 1;
}

bool windows(const Params& p, int64_t b, int64_t h, int64_t w, int64_t n, Shape* y) {
  *y = {{b, window(p, 0, h), window(p, 1, w), n}, 4};
  return y->dims[1] != 0 && y->dims[2] != 0;
}

bool stem_shape(const Params& p, const int64_t* x, Shape* y) {
  return windows(p, x[0], x[2], x[3], p.out_channels, y);
}

bool conv_shape(const Params& p, const int64_t* x, Shape* y) {
  return windows(p, x[0], x[1], x[2], p.out_channels, y);
}

int64_t halved(int64_t size) { return size < 0 ? -1 : (size + 1) / 2; }

bool stride2_shape(const Params& p, const int64_t* x, Shape* y) {
  *y = {{x[0], halved(x[1]), halved(x[2]), p.out_channels}, 4};
  return x[1] != 0 && x[2] != 0;
}

template <int Least, int Most>
bool tiles_shape(const Params& p, const int64_t* x, Shape* y) {
  const int64_t k = p.kernel_shape[0];
  return conv_shape(p, x, y) && k == p.kernel_shape[1] && k >= Least && k <= Most;
}

bool depthwise_shape(const Params& p, const int64_t* x, Shape* y) {
  return windows(p, x[0], x[1], x[2], p.channels, y) && (x[3] < 0 || x[3] == p.channels);
}

bool same_shape(const Params& p, const int64_t* x, Shape* y) {
  *y = {{x[0], x[1], x[2], p.channels}, 4};
  return x[3] < 0 || x[3] == p.channels;
}

bool pool_shape(const Params& p, const int64_t* x, Shape* y) {
  *y = {{x[0], p.out_features}, 2};
  return x[1] != 0 && x[2] != 0;
}

int64_t taps(const Params& p) { return p.kernel_shape[0] * p.kernel_shape[1]; }

int64_t conv_elements(const Params& p, int64_t c, const int64_t* y, int i) {
  if (i == 3) return y[0] * y[1] * y[2] * y[3];
  return i == 1 ? packed(taps(p) * c, p.out_channels) : up16(p.out_channels);
}

int64_t stem_inputs(const Params& p, const int64_t* x, const int64_t* y, int i) {
  return conv_elements(p, x[1], y, i);
}

int64_t conv_inputs(const Params& p, const int64_t* x, const int64_t* y, int i) {
  return conv_elements(p, x[3], y, i);
}

int64_t stride2_inputs(const Params& p, const int64_t* x, const int64_t*, int i) {
  return i == 1 ? packed(16 * x[3], p.out_channels) : up16(p.out_channels);
}

int64_t tiles_inputs(const Params& p, const int64_t* x, const int64_t*, int i) {
  const int64_t taps = p.kernel_shape[0] <= 3 ? 3 : 4, size = 3 + taps;
  const int64_t parts = (p.kernel_shape[0] + taps - 1) / taps;
  return i == 1 ? size * size * packed(parts * parts * x[3], p.out_channels)
                : up16(p.out_channels);
}

int64_t depthwise_inputs(const Params& p, const int64_t*, const int64_t*, int i) {
  return up16(p.channels) * (i == 1 ? taps(p) : 1);
}

int64_t ffn_inputs(const Params& p, const int64_t*, const int64_t*, int i) {
  const int64_t sizes[] = {packed(p.channels, p.hidden), up16(p.hidden),
                           packed(p.hidden, p.channels), up16(p.channels)};
  return sizes[i - 1];
}

int64_t attention_inputs(const Params& p, const int64_t*, const int64_t*, int i) {
  const int64_t qkv = 2 * p.dim_qk + p.dim_v;
  const int64_t sizes[] = {packed(p.dim_v, qkv), up16(qkv), packed(p.channels, p.channels),
                           up16(p.channels)};
  return sizes[i - 1];
}

int64_t bottleneck_inputs(const Params& p, const int64_t* x, const int64_t*, int i) {
  const int64_t sizes[] = {packed(x[3], p.hidden),           up16(p.hidden),
                           up16(p.hidden) * taps(p),         up16(p.hidden),
                           packed(p.hidden, p.reduced),      up16(p.reduced),
                           packed(p.reduced, p.hidden),      up16(p.hidden),
                           packed(p.hidden, p.out_channels), up16(p.out_channels)};
  return sizes[i - 1];
}

bool last_shape(const Params&, const int64_t* x, Shape* y) {
  *y = {{x[0], x[2], x[3], x[1]}, 4};
  return true;
}

bool first_shape(const Params&, const int64_t* x, Shape* y) {
  *y = {{x[0], x[3], x[1], x[2]}, 4};
  return true;
}

int64_t no_weights(const Params&, const int64_t*, const int64_t*, int) { return -1; }

int64_t pool_inputs(const Params& p, const int64_t* x, const int64_t*, int i) {
  return i == 1 ? packed(x[3], p.out_features) : up16(p.out_features);
}

AttncWindow win(const Params& p) {
  return {(Int)p.kernel_shape[0], (Int)p.kernel_shape[1], (Int)p.strides[0], (Int)p.strides[1],
          (Int)p.dilations[0],    (Int)p.dilations[1],    (Int)p.pads[0],    (Int)p.pads[1],
          (Int)p.pads[2],         (Int)p.pads[3]};
}

AttncConv conv_arguments(const Call& c, int h, int channel, bool gelu = false) {
  return {c.in[0],
          c.in[1],
          c.in[2],
          c.in[3],
          c.y(),
          (Int)c.x_dims()[0],
          (Int)c.x_dims()[h],
          (Int)c.x_dims()[h + 1],
          (Int)c.x_dims()[channel],
          (Int)c.y_dims()[1],
          (Int)c.y_dims()[2],
          (Int)c.y_dims()[3],
          win(*c.p),
          gelu,
          lower(*c.p),
          upper(*c.p)};
}

template <bool Gelu>
AttncStatus run_stem(const Call& c) {
  const AttncConv a = conv_arguments(c, 2, 1, Gelu);
  return c.kernels->stem_conv_f32(c.host, &a);
}

template <bool Gelu>
AttncStatus run_conv(const Call& c) {
  const AttncConv a = conv_arguments(c, 1, 3, Gelu);
  return c.kernels->conv_f32(c.host, &a);
}

AttncStatus run_stride2(const Call& c) {
  const AttncConv a = conv_arguments(c, 1, 3);
  return c.kernels->conv_stride2_f32(c.host, &a);
}

AttncStatus run_tiles(const Call& c) {
  const AttncConv a = conv_arguments(c, 1, 3);
  return c.kernels->conv_tiles_f32(c.host, &a);
}

AttncStatus depthwise(const Call& c, bool gelu) {
  const int64_t *x = c.x_dims(), *y = c.y_dims();
  const AttncDepthwise a = {c.in[0],   c.in[1],   c.in[2],   c.y(),     (Int)x[0],
                            (Int)x[1], (Int)x[2], (Int)x[3], (Int)y[1], (Int)y[2],
                            win(*c.p), gelu,      lower(*c.p), upper(*c.p)};
  return c.kernels->depthwise_f32(c.host, &a);
}

AttncStatus run_depthwise(const Call& c) { return depthwise(c, false); }
AttncStatus run_depthwise_gelu(const Call& c) { return depthwise(c, true); }

AttncStatus run_to_last(const Call& c) {
  const int64_t* x = c.x_dims();
  const AttncTurn a = {c.in[0], c.y(), (Int)x[0], (Int)x[1], (Int)(x[2] * x[3])};
  return c.kernels->turn_f32(c.host, &a);
}

AttncStatus run_to_first(const Call& c) {
  const int64_t* x = c.x_dims();
  const AttncTurn a = {c.in[0], c.y(), (Int)x[0], (Int)(x[1] * x[2]), (Int)x[3]};
  return c.kernels->turn_f32(c.host, &a);
}

AttncStatus run_feed_forward(const Call& c) {
  const AttncFeedForward a = {c.in[0],
                              c.in[1],
                              c.in[2],
                              c.in[3],
                              c.in[4],
                              c.y(),
                              (Int)(c.x_dims()[0] * c.x_dims()[1] * c.x_dims()[2]),
                              (Int)c.x_dims()[3],
                              (Int)c.p->hidden,
                              lower(*c.p),
                              upper(*c.p)};
  return c.kernels->feed_forward_f32(c.host, &a);
}

AttncStatus run_attention(const Call& c) {
  const AttncAttention a = {c.in[0],          c.in[1],
                            c.in[2],          c.in[3],
                            c.in[4],          c.y(),
                            (Int)c.x_dims()[0], (Int)(c.x_dims()[1] * c.x_dims()[2]),
                            (Int)c.x_dims()[3], (Int)c.p->dim_qk,
                            (Int)c.p->dim_v,  c.p->epsilon,
                            lower(*c.p),      upper(*c.p)};
  return c.kernels->attention_f32(c.host, &a);
}

AttncStatus run_bottleneck(const Call& c) {
  const AttncBottleneck a = {
      c.in[0],          c.in[1],           c.in[2],          c.in[3],
      c.in[4],          c.in[5],           c.in[6],          c.in[7],
      c.in[8],          c.in[9],           c.in[10],         c.y(),
      (Int)c.x_dims()[0], (Int)c.x_dims()[1],  (Int)c.x_dims()[2], (Int)c.x_dims()[3],
      (Int)c.p->hidden, (Int)c.p->reduced, (Int)c.y_dims()[1], (Int)c.y_dims()[2],
      (Int)c.y_dims()[3], win(*c.p),         lower(*c.p),      upper(*c.p)};
  return c.kernels->bottleneck_f32(c.host, &a);
}

AttncStatus run_pool(const Call& c) {
  const AttncPoolLinear a = {c.in[0],          c.in[1],
                             c.in[2],          c.y(),
                             (Int)c.x_dims()[0], (Int)(c.x_dims()[1] * c.x_dims()[2]),
                             (Int)c.x_dims()[3], (Int)c.p->out_features};
  return c.kernels->pool_linear_f32(c.host, &a);
}

constexpr const char* kConvAttributes = "out_channels kernel_shape strides pads dilations min max ";
constexpr const char* kConvGeluAttributes = "out_channels kernel_shape strides pads dilations ";

typedef bool (*MapShape)(const Params&, const int64_t* x, Shape* y);
typedef int64_t (*MapElements)(const Params&, const int64_t* x, const int64_t* y, int i);

// Operators on one map [B,H,W,C] (the stem's is [B,C,H,W]) with weights.
template <MapShape F>
const char* shape_of_map(const Params& p, const Shape* in, Shape* out) {
  if (in[0].rank != 4) return "x must have 4 dimensions";
  return F(p, in[0].dims, out) ? nullptr : "the window or the channels do not fit";
}

template <MapElements F>
int64_t elements_of_map(const Params& p, const Shape* in, const Shape* out, int i) {
  return F(p, in[0].dims, out[0].dims, i);
}

template <MapShape S, MapElements E>
constexpr OpInfo map_op(const char* name, int inputs, const char* attributes,
                        AttncStatus (*run)(const Call&)) {
  return {name, inputs, attributes, shape_of_map<S>, elements_of_map<E>, run};
}

}  // namespace

bool reads_channels_first(const OpInfo& op) { return op.shape == shape_of_map<stem_shape>; }

const OpInfo kMapOps[16] = {
    map_op<stem_shape, stem_inputs>("StemConvNhwc", 3, kConvAttributes, run_stem<false>),
    map_op<stem_shape, stem_inputs>("StemConvGeluNhwc", 3, kConvGeluAttributes, run_stem<true>),
    map_op<conv_shape, conv_inputs>("ConvNhwc", 3, kConvAttributes, run_conv<false>),
    map_op<conv_shape, conv_inputs>("ConvGeluNhwc", 3, kConvGeluAttributes, run_conv<true>),
    map_op<conv_shape, conv_inputs>("ConvAddNhwc", 4, kConvAttributes, run_conv<false>),
    map_op<stride2_shape, stride2_inputs>("ConvStride2Nhwc", 3, "out_channels min max ",
                                          run_stride2),
    map_op<tiles_shape<1, 3>, tiles_inputs>("ConvTiles3Nhwc", 3,
                                            "out_channels kernel_shape pads min max ", run_tiles),
    map_op<tiles_shape<4, 8>, tiles_inputs>("ConvTiles4Nhwc", 3,
                                            "out_channels kernel_shape pads min max ", run_tiles),
    map_op<depthwise_shape, depthwise_inputs>(
        "DepthwiseNhwc", 3, "channels kernel_shape strides pads dilations min max ", run_depthwise),
    map_op<depthwise_shape, depthwise_inputs>(
        "DepthwiseGeluNhwc", 3, "channels kernel_shape strides pads dilations ",
        run_depthwise_gelu),
    map_op<same_shape, ffn_inputs>("FeedForwardNhwc", 5, "channels hidden min max ",
                                   run_feed_forward),
    map_op<same_shape, attention_inputs>("SingleHeadAttentionNhwc", 5,
                                         "channels dim_qk dim_v epsilon min max ", run_attention),
    map_op<conv_shape, bottleneck_inputs>(
        "InvertedBottleneckNhwc", 11,
        "hidden reduced out_channels kernel_shape strides pads min max ", run_bottleneck),
    map_op<pool_shape, pool_inputs>("PoolLinearNhwc", 3, "out_features ", run_pool),
    map_op<last_shape, no_weights>("MapToNhwc", 1, "", run_to_last),
    map_op<first_shape, no_weights>("MapToNchw", 1, "", run_to_first),
};

}  // namespace ort
