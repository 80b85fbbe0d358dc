// What rows become before a product in fewer bits; included inside the namespace of a set.

// Bytes from x * factor, to the nearest, ties to even: what is added leaves the integer in the low
// bits of the sum. |x * factor| is at most 127.
inline void bytes_row(const float* x, Int k, Int filled, float factor, void* row) {
  int8_t* q = (int8_t*)row;
  for (Int i = 0; i < k; ++i) {
    const float shifted = x[i] * factor + 12582912.0f;  // 1.5 * 2^23
    int32_t bits;
    __builtin_memcpy(&bits, &shifted, sizeof(bits));
    q[i] = (int8_t)bits;
  }
  for (Int i = k; i < filled; ++i) q[i] = 0;
}
