// Matrices turned over: rows become columns. Sixteen rows at a time are turned in cache, so that
// whole cache lines are read and written whichever way the matrix lies.

constexpr Int kTurnRows = 16, kTurnColumns = 64;

// Rows [i, i + 16) and columns [j, j + columns) of `x` into y; `block` is scratch.
inline void turn_block(const AttncTurn& a, const float* x, Int i, Int j, Int columns, float* block,
                       float* y) {
  const Int rows = least(kTurnRows, a.rows - i);
  pack_turned(x + i * a.columns + j, a.columns, rows, columns, block);
  for (Int k = 0; k < columns; ++k) {
    float* to = y + (j + k) * a.rows + i;
    for (Int v = 0; v < rows; v += W) store_some(to + v, load(block + k * 16 + v), rows - v);
  }
}

// Asks for the lines of x and y of a block of rows that comes next.
inline void turn_ask(const AttncTurn& a, const float* x, Int i, Int j, Int columns, float* y) {
  const Int rows = least(kTurnRows, a.rows - i);
  for (Int r = 0; r < rows; ++r)
    for (Int c = 0; c < columns; c += 16)
      __builtin_prefetch(x + (i + r) * a.columns + j + c, 0, 3);
  for (Int k = 0; k < columns; ++k) __builtin_prefetch(y + (j + k) * a.rows + i, 1, 3);
}

// A strip of columns of one matrix, from top to bottom: its rows of y are written in order.
inline void turn_task(void* arg, size_t index) {
  const AttncTurn& a = *(const AttncTurn*)arg;
  const Int strips = ceil_div(a.columns, kTurnColumns), b = (Int)index / strips;
  const Int j = (Int)index % strips * kTurnColumns, columns = least(kTurnColumns, a.columns - j);
  const Int size = a.rows * a.columns;
  alignas(64) float block[kTurnRows * kTurnColumns];
  for (Int i = 0; i < a.rows; i += kTurnRows) {
    turn_ask(a, a.x + b * size, i + kTurnRows, j, columns, a.y + b * size);
    turn_block(a, a.x + b * size, i, j, columns, block, a.y + b * size);
  }
}

AttncStatus turn_f32(const AttncHost* host, const AttncTurn* a) {
  const Int tasks = a->rows > 0 ? a->batch * ceil_div(a->columns, kTurnColumns) : 0;
  if (tasks > 0) host->parallel_for(host->user, (size_t)tasks, turn_task, (void*)a);
  return kAttncOk;
}
