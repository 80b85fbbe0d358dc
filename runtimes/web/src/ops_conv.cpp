// Convolutions and pooling on [batch, channels, height, width], one output row at a time.
#include "ops.h"

namespace engine {
namespace {

struct Window {
  Int k[2], stride[2], dilation[2], pad[2];
};

Int given(const Step& s, const char* name, int i, Int otherwise) {
  const Attribute* a = s.find(name);
  return a && i < a->count ? a->integer(i) : otherwise;
}

// False if the result's size is not that of the window.
bool window_of(const Step& s, const Tensor& x, const Tensor& y, const Int* kernel, Window* w) {
  const bool ceil = s.integer("ceil_mode", 0) != 0;
  for (int i = 0; i < 2; ++i) {
    w->k[i] = kernel[i];
    w->stride[i] = given(s, "strides", i, 1);
    w->dilation[i] = given(s, "dilations", i, 1);
    if (w->k[i] < 1 || w->stride[i] < 1 || w->dilation[i] < 1) return false;
    const Int reach = (w->k[i] - 1) * w->dilation[i] + 1, in = x.dims[2 + i], out = y.dims[2 + i];
    Int pads[2] = {given(s, "pads", i, 0), given(s, "pads", i + 2, 0)};
    const bool upper = s.says("auto_pad", "SAME_UPPER"), lower = s.says("auto_pad", "SAME_LOWER");
    if (upper || lower) {
      const Int need = (out - 1) * w->stride[i] + reach - in, all = need > 0 ? need : 0;
      pads[0] = lower ? (all + 1) / 2 : all / 2;
      pads[1] = all - pads[0];
    }
    w->pad[i] = pads[0];
    const Int room = in + pads[0] + pads[1] - reach;
    if (room < 0) return false;
    Int fits = room / w->stride[i] + 1;
    if (ceil && room % w->stride[i] && fits * w->stride[i] < in + pads[0]) ++fits;
    if (fits != out) return false;
  }
  return true;
}

struct Conv {
  const float *x, *w, *bias;
  float* y;
  Int h, width, oh, ow, inside, outside, group_in, group_out;  // channels, and those of a group
  Window win;
};

// One output row of one channel.
void conv_row(const Conv& c, Int image, Int o, Int row) {
  float* y = c.y + ((image * c.outside + o) * c.oh + row) * c.ow;
  for (Int i = 0; i < c.ow; ++i) y[i] = c.bias ? c.bias[o] : 0.0f;
  const Int first = o / c.group_out * c.group_in;
  const float* w = c.w + o * c.group_in * c.win.k[0] * c.win.k[1];
  for (Int ch = 0; ch < c.group_in; ++ch)
    for (Int ky = 0; ky < c.win.k[0]; ++ky) {
      const Int iy = row * c.win.stride[0] + ky * c.win.dilation[0] - c.win.pad[0];
      if (iy < 0 || iy >= c.h) continue;
      const float* x = c.x + ((image * c.inside + first + ch) * c.h + iy) * c.width;
      for (Int kx = 0; kx < c.win.k[1]; ++kx) {
        const float f = w[(ch * c.win.k[0] + ky) * c.win.k[1] + kx];
        const Int shift = kx * c.win.dilation[1] - c.win.pad[1], step = c.win.stride[1];
        Int begin = shift < 0 ? (-shift + step - 1) / step : 0;
        Int end = c.width - 1 - shift < 0 ? 0 : (c.width - 1 - shift) / step + 1;
        end = end < c.ow ? end : c.ow;
        if (step == 1)
          for (Int i = begin; i < end; ++i) y[i] += f * x[i + shift];
        else
          for (Int i = begin; i < end; ++i) y[i] += f * x[i * step + shift];
      }
    }
}

void conv_task(void* arg, size_t index) {
  const Conv& c = *(const Conv*)arg;
  const Int image = (Int)index / c.outside, o = (Int)index % c.outside;
  for (Int row = 0; row < c.oh; ++row) conv_row(c, image, o, row);
}

}  // namespace

const char* op_conv(const Step& s) {
  const Tensor &x = *s.in[0], &w = *s.in[1], &y = *s.out[0];
  const Tensor* bias = s.input(2);
  if (x.type != kFloat32 || w.type != kFloat32 || y.type != kFloat32) return kBadType;
  if (x.rank != 4 || w.rank != 4 || y.rank != 4) return "only convolutions of pictures are supported";
  const Int groups = s.integer("group", 1);
  if (groups < 1 || x.dims[1] != w.dims[1] * groups || w.dims[0] % groups || y.dims[1] != w.dims[0] ||
      x.dims[0] != y.dims[0] || (bias && bias->elements != w.dims[0]))
    return kBadShape;
  Conv c = {x.f(),     w.f(),     bias ? bias->f() : nullptr, y.f(),     x.dims[2],          x.dims[3],
            y.dims[2], y.dims[3], x.dims[1],                  y.dims[1], w.dims[1],          w.dims[0] / groups,
            {}};
  if (!window_of(s, x, y, w.dims + 2, &c.win)) return kBadShape;
  kHost.parallel_for(kHost.user, (size_t)(y.dims[0] * y.dims[1]), conv_task, &c);
  return nullptr;
}

const char* op_pool(const Step& s) {
  const Tensor &x = *s.in[0], &y = *s.out[0];
  const Int kernel[2] = {given(s, "kernel_shape", 0, 0), given(s, "kernel_shape", 1, 0)};
  Window w;
  if (x.type != kFloat32 || y.type != kFloat32) return kBadType;
  if (x.rank != 4 || y.rank != 4 || x.dims[0] != y.dims[0] || x.dims[1] != y.dims[1]) return kBadShape;
  // Far larger ones would only walk over padding.
  if (kernel[0] > 2 * x.dims[2] + 64 || kernel[1] > 2 * x.dims[3] + 64) return kBadAttribute;
  if (!window_of(s, x, y, kernel, &w)) return kBadShape;
  const bool largest = same(s.name, "MaxPool"), padded = s.integer("count_include_pad", 0) != 0;
  const Int h = x.dims[2], width = x.dims[3];
  const Int bottom = h + given(s, "pads", 2, 0), right = width + given(s, "pads", 3, 0);
  for (Int at = 0; at < y.elements; ++at) {
    const Int ox = at % y.dims[3], oy = at / y.dims[3] % y.dims[2], plane = at / y.dims[3] / y.dims[2];
    float best = -__builtin_inff(), sum = 0;
    Int count = 0, all = 0;
    for (Int ky = 0; ky < w.k[0]; ++ky)
      for (Int kx = 0; kx < w.k[1]; ++kx) {
        const Int iy = oy * w.stride[0] + ky * w.dilation[0] - w.pad[0];
        const Int ix = ox * w.stride[1] + kx * w.dilation[1] - w.pad[1];
        all += iy < bottom && ix < right;
        if (iy < 0 || ix < 0 || iy >= h || ix >= width) continue;
        const float value = x.f()[(plane * h + iy) * width + ix];
        best = value > best || value != value ? value : best;
        sum += value;
        ++count;
      }
    y.f()[at] = largest ? best : sum / (float)(padded ? all : count);
  }
  return nullptr;
}

const char* op_global_pool(const Step& s) {
  const Tensor &x = *s.in[0], &y = *s.out[0];
  if (x.type != kFloat32 || y.type != kFloat32) return kBadType;
  if (x.rank < 3 || y.elements != x.dims[0] * x.dims[1] || !y.elements) return kBadShape;
  const Int plane = x.elements / y.elements;
  for (Int i = 0; i < y.elements; ++i) {
    double sum = 0;
    for (Int k = 0; k < plane; ++k) sum += x.f()[i * plane + k];
    y.f()[i] = (float)(sum / (double)plane);
  }
  return nullptr;
}

}  // namespace engine
