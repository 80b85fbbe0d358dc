// Pointwise expansion, depthwise convolution, squeeze-and-excite, pointwise projection.
// The expanded tensor never exists: each task expands three panels of channels over the whole
// image, runs the depthwise convolution on them while they are in cache, and sums them for the
// squeeze.

struct BottleneckTask {
  const AttncBottleneck* a;
  Int chunks, panels;        // of the hidden channels
  float *mid, *mean, *gate;  // [batch][oh*ow][hidden], [batch][hidden], [batch][reduced]
  Slots slots;
};

inline Dw bottleneck_dw(const AttncBottleneck& a, const float* x, Int x_pixel, float* y,
                        Int channel) {
  Dw d = dw_over(a);
  d.x = x;
  d.x_pixel = x_pixel;
  d.y = y;
  d.y_pixel = a.hidden;
  d.w = a.wd + channel;
  d.bias = a.bd + channel;
  d.w_tap = round16(a.hidden);
  return d;
}

inline void bottleneck_expand_task(void* arg, size_t index) {
  BottleneckTask& t = *(BottleneckTask*)arg;
  const AttncBottleneck& a = *t.a;
  const Int b = (Int)index % a.batch, chunk = (Int)index / a.batch;  // weights stay for all images
  const Int first = chunk_begin(t.panels, chunk), last = chunk_begin(t.panels, chunk + 1);
  const Int channel = first * 16, n = least(last * 16, a.hidden) - channel;
  const Int ld = (last - first) * 16, out_pixels = a.oh * a.ow;
  const Int slot = take_slot(&t.slots);
  float* expanded = t.slots.base + slot * t.slots.stride;
  const Run run = {a.x + b * a.h * a.width * a.c, 0, a.c};
  const Gemm g = {&run,
                  1,
                  a.c,
                  a.w1 + first * a.c * 16,
                  a.c * 16,
                  16,
                  a.b1 + channel,
                  nullptr,
                  0,
                  expanded,
                  ld,
                  a.h * a.width,
                  ld,
                  a.lo,
                  a.hi};
  Ahead after = no_hint();
  after.add(a.w1 + last * a.c * 16, least(3, t.panels - last) * a.c * 16);
  if (b ==
      0) {  // the squeeze reads its weights once, at the speed of memory: spread that over here
    const Int s1 = a.hidden * round16(a.reduced), s2 = a.reduced * round16(a.hidden);
    after.add(a.s1 + s1 * chunk / t.chunks, s1 / t.chunks);
    after.add(a.s2 + s2 * chunk / t.chunks, s2 / t.chunks);
  }
  gemm(g, 0, last - first, after);
  float* mid = t.mid + b * out_pixels * a.hidden + channel;
  dw_channels(bottleneck_dw(a, expanded, ld, mid, channel), n, 0, a.oh);
  mean_rows(t.mean + b * a.hidden + channel, mid, out_pixels, a.hidden, n);
  return_slot(&t.slots, slot);
}

// A chunk of the second product of the squeeze, its logistic function, and the scaling by it.
inline void bottleneck_scale_task(void* arg, size_t index) {
  BottleneckTask& t = *(BottleneckTask*)arg;
  const AttncBottleneck& a = *t.a;
  const float inf = __builtin_inff();
  const Int first = chunk_begin(t.panels, (Int)index), last = chunk_begin(t.panels, (Int)index + 1);
  const Int channel = first * 16, stop = least(last * 16, a.hidden);
  const Run run = {t.gate, 0, a.reduced};
  const Gemm g = {&run, 1,      a.reduced, a.s2,    a.reduced * 16, 16,   a.c2, nullptr,
                  0,    t.mean, a.hidden,  a.batch, a.hidden,       -inf, inf};
  gemm(g, first, last, first_panels(a.w3, a.hidden, a.n));
  for (Int b = 0; b < a.batch; ++b)
    for (Int j = channel; j < stop; j += W) {
      const Int n = least(W, stop - j);
      const V s = sigmoid_v(loadn(t.mean + b * a.hidden + j, n));
      float* at = t.mid + b * a.oh * a.ow * a.hidden + j;
      for (Int i = 0; i < a.oh * a.ow; ++i, at += a.hidden) storen(at, mul(loadn(at, n), s), n);
    }
}

inline void bottleneck_phases(const AttncHost* host, BottleneckTask& t) {
  const AttncBottleneck& a = *t.a;
  const float inf = __builtin_inff();
  host->parallel_for(host->user, (size_t)(t.chunks * a.batch), bottleneck_expand_task, &t);
  const Run mean = {t.mean, 0, a.hidden}, mid = {t.mid, 0, a.hidden};
  const Gemm squeeze = {&mean, 1,      a.hidden,  a.s1,    a.hidden * 16, 16,   a.c1, nullptr,
                        0,     t.gate, a.reduced, a.batch, a.reduced,     0.0f, inf};
  parallel_gemm(host, squeeze, first_panels(a.s2, a.reduced, a.hidden));
  host->parallel_for(host->user, (size_t)t.chunks, bottleneck_scale_task, &t);
  const Gemm project = {&mid, 1,       a.hidden, a.w3, a.hidden * 16, 16,
                        a.b3, nullptr, 0,        a.y,  a.n,           a.batch * a.oh * a.ow,
                        a.n,  -inf,    inf};
  parallel_gemm(host, project, no_hint());
}

AttncStatus bottleneck_f32(const AttncHost* host, const AttncBottleneck* a) {
  if (a->batch == 0) return kAttncOk;
  BottleneckTask t = {};
  t.a = a;
  t.panels = panels_of(a->hidden);
  t.chunks = chunk_count(t.panels);
  const Int mid = round16(a->batch * a->oh * a->ow * a->hidden);
  const Int mean = round16(a->batch * a->hidden), gate = round16(a->batch * a->reduced);
  t.slots.count = least(t.chunks * a->batch, kMaxSlots);
  t.slots.stride = a->h * a->width * 48;
  float* scratch = alloc_floats(host, mid + mean + gate + t.slots.stride * t.slots.count);
  if (!scratch) return kAttncNoMemory;
  t.mid = scratch;
  t.mean = scratch + mid;
  t.gate = t.mean + mean;
  t.slots.base = t.gate + gate;
  bottleneck_phases(host, t);
  host->free(host->user, scratch);
  return kAttncOk;
}
