#include "sparse_rows.cuh"
#include "sparse_summary.cuh"

#define SUMMARY(name, T)                                                                      \
  ATTNC_ENTRY(name, attnc::kSummaryThreads,                                                   \
              (const T* qkv, const T* wk, const T* bk, const T* proj, int tokens, int heads,  \
               int dim, int narrow, int rank, T* low),                                        \
              attnc::sparse_summary<T>(qkv, wk, bk, proj, nullptr, tokens, heads, dim, narrow, \
                                       rank, low))
ATTNC_PRECISIONS(SUMMARY, sparse_summary)

#define SUMMARY_ACTIVE(name, T)                                                               \
  ATTNC_ENTRY(name, attnc::kSummaryThreads,                                                   \
              (const T* qkv, const T* wk, const T* bk, const T* proj, const T* active,        \
               int tokens, int heads, int dim, int narrow, int rank, T* low),                 \
              attnc::sparse_summary(qkv, wk, bk, proj, active, tokens, heads, dim, narrow,    \
                                    rank, low))
ATTNC_PRECISIONS(SUMMARY_ACTIVE, sparse_summary_active)

#define SIZES                                                                              \
  int tokens, int heads, int dim, int narrow, int rank, int coef_topk, int coef_threshold, \
      int keep, int score_threshold, int scale, int coef_scale
#define ROW_SIZES(prune_rows)                                                              \
  attnc::RowSizes {                                                                        \
    tokens, heads, dim, narrow, rank, coef_topk, keep, prune_rows,                         \
        __int_as_float(coef_threshold), __int_as_float(score_threshold),                   \
        __int_as_float(scale), __int_as_float(coef_scale)                                  \
  }

#define ROWS(name, T)                                                                      \
  ATTNC_ENTRY(name, attnc::kRowsThreads,                                                   \
              (const T* qkv, const T* low, const T* wq, const T* bq, const T* basis,       \
               SIZES, T* y),                                                               \
              attnc::sparse_rows<T>(qkv, low, wq, bq, basis, nullptr, ROW_SIZES(0), y))
ATTNC_PRECISIONS(ROWS, sparse_rows)

#define ROWS_ACTIVE(name, T)                                                               \
  ATTNC_ENTRY(name, attnc::kRowsThreads,                                                   \
              (const T* qkv, const T* low, const T* wq, const T* bq, const T* basis,       \
               const T* active, SIZES, int prune_rows, T* y),                              \
              attnc::sparse_rows(qkv, low, wq, bq, basis, active, ROW_SIZES(prune_rows), y))
ATTNC_PRECISIONS(ROWS_ACTIVE, sparse_rows_active)
