// Mean over the pixels, then a product.

struct PoolTask {
  const AttncPoolLinear* a;
  float* mean;
};

inline void pool_task(void* arg, size_t index) {
  const PoolTask& t = *(const PoolTask*)arg;
  const AttncPoolLinear& a = *t.a;
  mean_rows(t.mean + (Int)index * a.c, a.x + (Int)index * a.pixels * a.c, a.pixels, a.c, a.c);
}

AttncStatus pool_linear_f32(const AttncHost* host, const AttncPoolLinear* a) {
  if (a->batch == 0) return kAttncOk;
  PoolTask t = {a, alloc_floats(host, a->batch * a->c)};
  if (!t.mean) return kAttncNoMemory;
  host->parallel_for(host->user, (size_t)a->batch, pool_task, &t);
  const Run run = {t.mean, 0, a->c};
  const Gemm g = {&run,
                  1,
                  a->c,
                  a->w,
                  a->c * 16,
                  16,
                  a->bias,
                  nullptr,
                  0,
                  a->y,
                  a->n,
                  a->batch,
                  a->n,
                  -__builtin_inff(),
                  __builtin_inff()};
  parallel_gemm(host, g, no_hint());
  host->free(host->user, t.mean);
  return kAttncOk;
}
