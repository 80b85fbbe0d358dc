// Rows in tiles; included inside the namespace of a set. Tiles::run<R>(rows, stride, panel, k, out)
// makes R rows of kWidth results, for R up to kRows, with the instructions that it is made for.
template <class Tiles, int R = Tiles::kRows>
inline void in_tiles(const char* rows, Int stride, const void* panel, Int k, Int count,
                     float* out) {
  for (; count >= R; count -= R, rows += R * stride, out += R * Tiles::kWidth)
    Tiles::template run<R>(rows, stride, panel, k, out);
  if constexpr (R > 1) {
    if (count > 0) in_tiles<Tiles, R / 2>(rows, stride, panel, k, count, out);
  }
}

template <class Tiles>
inline void low_product(const void* rows, Int stride, const void* panel, Int k, Int count,
                        float* out) {
  in_tiles<Tiles>((const char*)rows, stride, panel, k, count, out);
}
