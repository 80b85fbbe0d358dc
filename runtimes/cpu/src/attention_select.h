// EViT's token selection: the class token's row of the attention, averaged over the heads, ranks
// the other tokens; the best stay in the order of their rank.

struct SelectTask {
  const AttncSelect* a;
  float* rows;  // [batch][heads][n]: softmax of the class token's scores
};

inline void select_row_task(void* arg, size_t index) {
  const SelectTask& t = *(const SelectTask*)arg;
  const AttncSelect& a = *t.a;
  const Int b = (Int)index / a.heads, h = (Int)index % a.heads;
  float* row = t.rows + (Int)index * round16(a.n);
  const float* q = a.query + b * a.m * a.ldq + a.q_at + h * a.dim_qk;
  const float* k = a.memory + b * a.n * a.ldm + a.k_at + h * a.dim_qk;
  const float sum =
      mha_scores(q, a.scale * 1.44269504f, k, a.ldm, a.n, a.dim_qk, row);
  const float share = 1.0f / (sum * (float)a.heads);
  for (Int j = 0; j < a.n; ++j) row[j] *= share;
}

// index[r] = the patch of rank r; scores of the kept become zero. A rank is the number of better
// patches, where of equal ones the first is better: no sort, no branch, N comparisons a patch.
inline void select_rank(float* s, Int patches, Int keep, int64_t* index) {
  for (Int r = 0; r < keep; ++r) index[r] = r;  // NaNs have no rank; every entry must be a patch
  for (Int i = 0; i < patches; ++i) {
    const float own = s[i];
    int better = 0;
    for (Int j = 0; j < i; ++j) better += s[j] >= own;
    for (Int j = i + 1; j < patches; ++j) better += s[j] > own;
    if (better < keep) index[better] = i;
  }
  for (Int r = 0; r < keep; ++r) s[index[r]] = 0.0f;
}

inline void copy_row(float* to, const float* from, Int n) {
  __builtin_memcpy(to, from, (size_t)n * sizeof(float));
}

// [class token, kept tokens] and, with `fuse`, the dropped ones weighted with their scores.
inline void select_image_task(void* arg, size_t index) {
  const SelectTask& t = *(const SelectTask*)arg;
  const AttncSelect& a = *t.a;
  const Int b = (Int)index, np = round16(a.n), patches = a.n - 1;
  float* rows = t.rows + b * a.heads * np;
  float* s = a.weights + b * patches;
  int64_t* kept = a.index + b * a.keep;
  for (Int j = 0; j < patches; ++j) {
    float sum = rows[1 + j];
    for (Int h = 1; h < a.heads; ++h) sum += rows[h * np + 1 + j];
    s[j] = sum;
  }
  select_rank(s, patches, a.keep, kept);
  const float* x = a.x + b * a.n * a.c;
  float* y = a.y + b * (1 + a.keep + a.fuse) * a.c;
  copy_row(y, x, a.c);
  for (Int r = 0; r < a.keep; ++r) copy_row(y + (1 + r) * a.c, x + (1 + kept[r]) * a.c, a.c);
  if (!a.fuse) return;
  float total = 0;
  for (Int j = 0; j < patches; ++j) total += s[j];
  float* out = y + (1 + a.keep) * a.c;
  mha_mix(s, 1.0f, x + a.c, a.c, patches, a.c, out);
  for (Int c = 0; c < a.c; ++c) out[c] += (total - 1.0f) * a.bias[c];
}

AttncStatus select_tokens_f32(const AttncHost* host, const AttncSelect* a) {
  if (a->batch == 0) return kAttncOk;
  SelectTask t = {a, alloc_floats(host, a->batch * a->heads * round16(a->n))};
  if (!t.rows) return kAttncNoMemory;
  host->parallel_for(host->user, (size_t)(a->batch * a->heads), select_row_task, &t);
  host->parallel_for(host->user, (size_t)a->batch, select_image_task, &t);
  host->free(host->user, t.rows);
  return kAttncOk;
}
