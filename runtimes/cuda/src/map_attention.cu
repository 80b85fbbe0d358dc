#include "map_attention.cuh"

#define ENTRY(name, T)                                                                         \
  ATTNC_ENTRY(name, attnc::kMixThreads,                                                        \
              (const T* qkv, const T* x, int tokens, int channels, int dim_qk, int dim_v,      \
               int scale, int least, int most, T* y),                                          \
              attnc::map_attention(qkv, x, tokens, channels, dim_qk, dim_v, scale, least, most, y))
ATTNC_PRECISIONS(ENTRY, map_attention)
