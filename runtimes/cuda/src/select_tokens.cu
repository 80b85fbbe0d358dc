#include "select_tokens.cuh"

#define ENTRY(name, T)                                                                         \
  ATTNC_ENTRY(name, attnc::kSelectThreads,                                                     \
              (const T* x, const T* query, const T* memory, const T* bias, int tokens,         \
               int channels, int query_rows, int query_width, int memory_width, int heads,     \
               int dim_qk, int q_at, int k_at, int keep, int fuse, int scale, T* y,            \
               long long* index, T* weights),                                                  \
              const attnc::SelectSizes sizes = {tokens, channels, query_rows, query_width,     \
                                                memory_width, heads, dim_qk, q_at, k_at, keep, \
                                                fuse, __int_as_float(scale)};                  \
              attnc::select_tokens(x, query, memory, bias, sizes, y, index, weights))
ATTNC_PRECISIONS(ENTRY, select_tokens)
