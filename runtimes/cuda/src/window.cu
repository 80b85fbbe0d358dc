#include "window.cuh"

#define SIZES                                                                                  \
  int height, int width, int channels, int rows, int columns, int row_step, int column_step,   \
      int shift, int scale, int pixels
#define WINDOW_SIZES(grid_rows, grid_columns)                                                  \
  attnc::WindowSizes {                                                                         \
    height, width, channels, rows, columns, row_step, column_step, shift, grid_rows,           \
        grid_columns, pixels, __int_as_float(scale)                                            \
  }

#define WINDOW(name, T)                                                                        \
  ATTNC_ENTRY(name, attnc::kWindowThreads, (const T* qkv, const T* x, SIZES, T* y),            \
              attnc::window_attention(qkv, x, WINDOW_SIZES(0, 0), y))
ATTNC_PRECISIONS(WINDOW, window_attention)

#define WINDOW_BARE(name, T)                                                                   \
  ATTNC_ENTRY(name, attnc::kWindowThreads, (const T* qkv, SIZES, T* y),                        \
              attnc::window_attention<T>(qkv, nullptr, WINDOW_SIZES(0, 0), y))
ATTNC_PRECISIONS(WINDOW_BARE, window_attention_bare)

#define POOLED(name, T)                                                                        \
  ATTNC_ENTRY(name, attnc::kPooledThreads,                                                     \
              (const T* qkv, const T* x, SIZES, int grid_rows, int grid_columns, T* y),        \
              attnc::window_attention(qkv, x, WINDOW_SIZES(grid_rows, grid_columns), y))
ATTNC_PRECISIONS(POOLED, window_attention_pooled)

#define POOLED_BARE(name, T)                                                                   \
  ATTNC_ENTRY(name, attnc::kPooledThreads,                                                     \
              (const T* qkv, SIZES, int grid_rows, int grid_columns, T* y),                    \
              attnc::window_attention<T>(qkv, nullptr, WINDOW_SIZES(grid_rows, grid_columns), y))
ATTNC_PRECISIONS(POOLED_BARE, window_attention_pooled_bare)
