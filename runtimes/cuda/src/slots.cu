#include "slot_cluster.cuh"
#include "slot_dispatch.cuh"

#define CLUSTER(name, T)                                                                      \
  ATTNC_ENTRY(name, attnc::kClusterThreads,                                                   \
              (const T* x, const T* slots, int tokens, int count, int channels,               \
               int slot_images, int scale, T* y, T* logits),                                  \
              attnc::slot_cluster(x, slots, tokens, count, channels, slot_images, scale, y,   \
                                  logits))
ATTNC_PRECISIONS(CLUSTER, slot_cluster)

#define POOLED_CLUSTER(name, T)                                                               \
  ATTNC_ENTRY(name, attnc::kClusterThreads,                                                   \
              (const T* x, const T* map, int tokens, int channels, int height, int width,     \
               int rows, int columns, int scale, T* y, T* logits),                            \
              attnc::pooled_slot_cluster(x, map, tokens, channels, height, width, rows,       \
                                         columns, scale, y, logits))
ATTNC_PRECISIONS(POOLED_CLUSTER, pooled_slot_cluster)

#define DISPATCH(name, T)                                                                    \
  ATTNC_ENTRY(name, attnc::kMixThreads,                                                      \
              (const T* logits, const T* slots, int tokens, int count, int channels, T* y),  \
              attnc::slot_dispatch<T>(logits, slots, nullptr, tokens, count, channels, y))
ATTNC_PRECISIONS(DISPATCH, slot_dispatch)

#define DISPATCH_ADD(name, T)                                                                \
  ATTNC_ENTRY(name, attnc::kMixThreads,                                                      \
              (const T* logits, const T* slots, const T* residual, int tokens, int count,    \
               int channels, T* y),                                                          \
              attnc::slot_dispatch(logits, slots, residual, tokens, count, channels, y))
ATTNC_PRECISIONS(DISPATCH_ADD, slot_dispatch_add)
