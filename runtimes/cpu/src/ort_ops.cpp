#include "ort_ops.h"

namespace ort {
namespace {

constexpr float kFloatMax = 3.4028234663852886e38f;

int64_t up16(int64_t n) { return (n + 15) / 16 * 16; }
int64_t packed(int64_t k, int64_t n) { return up16(n) * k; }

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

int64_t pool_inputs(const Params& p, const int64_t* x, const int64_t*, int i) {
  return i == 1 ? packed(x[3], p.out_features) : up16(p.out_features);
}

AttncWindow win(const Params& p) {
  return {(Int)p.kernel_shape[0], (Int)p.kernel_shape[1], (Int)p.strides[0], (Int)p.strides[1],
          (Int)p.dilations[0],    (Int)p.dilations[1],    (Int)p.pads[0],    (Int)p.pads[1],
          (Int)p.pads[2],         (Int)p.pads[3]};
}

// "No bound" is written as the largest float; infinities must pass it unchanged.
float lower(const Params& p) { return p.min <= -kFloatMax ? -__builtin_inff() : p.min; }
float upper(const Params& p) { return p.max >= kFloatMax ? __builtin_inff() : p.max; }

AttncConv conv_arguments(const Call& c, int h, int channel) {
  return {c.in[0],
          c.in[1],
          c.in[2],
          c.in[3],
          c.y,
          (Int)c.x_dims[0],
          (Int)c.x_dims[h],
          (Int)c.x_dims[h + 1],
          (Int)c.x_dims[channel],
          (Int)c.y_dims[1],
          (Int)c.y_dims[2],
          (Int)c.y_dims[3],
          win(*c.p),
          lower(*c.p),
          upper(*c.p)};
}

AttncStatus run_stem(const Call& c) {
  const AttncConv a = conv_arguments(c, 2, 1);
  return c.kernels->stem_conv_f32(c.host, &a);
}

AttncStatus run_conv(const Call& c) {
  const AttncConv a = conv_arguments(c, 1, 3);
  return c.kernels->conv_f32(c.host, &a);
}

AttncStatus run_stride2(const Call& c) {
  const AttncConv a = conv_arguments(c, 1, 3);
  return c.kernels->conv_stride2_f32(c.host, &a);
}

AttncStatus run_depthwise(const Call& c) {
  const AttncDepthwise a = {c.in[0],          c.in[1],          c.in[2],          c.y,
                            (Int)c.x_dims[0], (Int)c.x_dims[1], (Int)c.x_dims[2], (Int)c.x_dims[3],
                            (Int)c.y_dims[1], (Int)c.y_dims[2], win(*c.p),        lower(*c.p),
                            upper(*c.p)};
  return c.kernels->depthwise_f32(c.host, &a);
}

AttncStatus run_feed_forward(const Call& c) {
  const AttncFeedForward a = {c.in[0],
                              c.in[1],
                              c.in[2],
                              c.in[3],
                              c.in[4],
                              c.y,
                              (Int)(c.x_dims[0] * c.x_dims[1] * c.x_dims[2]),
                              (Int)c.x_dims[3],
                              (Int)c.p->hidden,
                              lower(*c.p),
                              upper(*c.p)};
  return c.kernels->feed_forward_f32(c.host, &a);
}

AttncStatus run_attention(const Call& c) {
  const AttncAttention a = {c.in[0],          c.in[1],
                            c.in[2],          c.in[3],
                            c.in[4],          c.y,
                            (Int)c.x_dims[0], (Int)(c.x_dims[1] * c.x_dims[2]),
                            (Int)c.x_dims[3], (Int)c.p->dim_qk,
                            (Int)c.p->dim_v,  c.p->epsilon,
                            lower(*c.p),      upper(*c.p)};
  return c.kernels->attention_f32(c.host, &a);
}

AttncStatus run_bottleneck(const Call& c) {
  const AttncBottleneck a = {
      c.in[0],          c.in[1],           c.in[2],          c.in[3],
      c.in[4],          c.in[5],           c.in[6],          c.in[7],
      c.in[8],          c.in[9],           c.in[10],         c.y,
      (Int)c.x_dims[0], (Int)c.x_dims[1],  (Int)c.x_dims[2], (Int)c.x_dims[3],
      (Int)c.p->hidden, (Int)c.p->reduced, (Int)c.y_dims[1], (Int)c.y_dims[2],
      (Int)c.y_dims[3], win(*c.p),         lower(*c.p),      upper(*c.p)};
  return c.kernels->bottleneck_f32(c.host, &a);
}

AttncStatus run_pool(const Call& c) {
  const AttncPoolLinear a = {c.in[0],          c.in[1],
                             c.in[2],          c.y,
                             (Int)c.x_dims[0], (Int)(c.x_dims[1] * c.x_dims[2]),
                             (Int)c.x_dims[3], (Int)c.p->out_features};
  return c.kernels->pool_linear_f32(c.host, &a);
}

bool same(const char* a, const char* b, size_t n) {
  for (size_t i = 0; i < n; ++i)
    if (a[i] != b[i] || !a[i]) return false;
  return a[n] == 0;
}

constexpr const char* kConvAttributes = "out_channels kernel_shape strides pads dilations min max ";

bool bottleneck_shape(const Params& p, const int64_t* x, Shape* y) { return conv_shape(p, x, y); }

bool inside(const int64_t* v, int n, int64_t low, int64_t high) {
  for (int i = 0; i < n; ++i)
    if (v[i] < low || v[i] > high) return false;
  return true;
}

}  // namespace

const OpInfo kOpInfos[kOps] = {
    {"StemConvNhwc", 3, kConvAttributes, stem_shape, stem_inputs, run_stem},
    {"ConvNhwc", 3, kConvAttributes, conv_shape, conv_inputs, run_conv},
    {"ConvAddNhwc", 4, kConvAttributes, conv_shape, conv_inputs, run_conv},
    {"ConvStride2Nhwc", 3, "out_channels min max ", stride2_shape, stride2_inputs, run_stride2},
    {"DepthwiseNhwc", 3, "channels kernel_shape strides pads dilations min max ", depthwise_shape,
     depthwise_inputs, run_depthwise},
    {"FeedForwardNhwc", 5, "channels hidden min max ", same_shape, ffn_inputs, run_feed_forward},
    {"SingleHeadAttentionNhwc", 5, "channels dim_qk dim_v epsilon min max ", same_shape,
     attention_inputs, run_attention},
    {"InvertedBottleneckNhwc", 11, "hidden reduced out_channels kernel_shape strides pads min max ",
     bottleneck_shape, bottleneck_inputs, run_bottleneck},
    {"PoolLinearNhwc", 3, "out_features ", pool_shape, pool_inputs, run_pool},
};

const AttributeSpec kAttributes[] = {
    {"out_channels", offsetof(Params, out_channels), 1, true},
    {"channels", offsetof(Params, channels), 1, true},
    {"hidden", offsetof(Params, hidden), 1, true},
    {"reduced", offsetof(Params, reduced), 1, true},
    {"dim_qk", offsetof(Params, dim_qk), 1, true},
    {"dim_v", offsetof(Params, dim_v), 1, true},
    {"out_features", offsetof(Params, out_features), 1, true},
    {"kernel_shape", offsetof(Params, kernel_shape), 2, true},
    {"strides", offsetof(Params, strides), 2, false},
    {"pads", offsetof(Params, pads), 4, false},
    {"dilations", offsetof(Params, dilations), 2, false},
    {"epsilon", offsetof(Params, epsilon), 0, true},
    {"min", offsetof(Params, min), 0, false},
    {"max", offsetof(Params, max), 0, false},
};
const int kAttributeCount = sizeof(kAttributes) / sizeof(kAttributes[0]);

Params default_params() {
  return {1, 1, 1, 1, 1, 1, 1, {1, 1}, {1, 1}, {0, 0, 0, 0}, {1, 1}, 1e-5f, -kFloatMax, kFloatMax};
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
  constexpr int64_t kWide = 1 << 24;
  const int64_t widths[] = {p.out_channels, p.channels, p.hidden,      p.reduced,
                            p.dim_qk,       p.dim_v,    p.out_features};
  if (!inside(widths, 7, 1, kWide)) return "channel counts must lie in [1, 2^24]";
  if (!inside(p.kernel_shape, 2, 1, 255)) return "kernel_shape must lie in [1, 255]";
  if (!inside(p.strides, 2, 1, 4096) || !inside(p.dilations, 2, 1, 4096))
    return "strides and dilations must lie in [1, 4096]";
  if (!inside(p.pads, 4, 0, 4096)) return "pads must lie in [0, 4096]";
  if (!(p.min <= p.max)) return "min must not exceed max";
  if (has_attribute(op, "dim_v") && p.dim_v > p.channels) return "dim_v must not exceed channels";
  if (!(p.epsilon >= 0)) return "epsilon must not be negative";
  return nullptr;
}

}  // namespace ort
