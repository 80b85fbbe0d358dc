// Halves, and bytes as 16-bit integers.
typedef __m512i Ints;
typedef __m512i Wide;
constexpr int kIntVecs = 2, kIntRows = 8;
inline V load_half(const uint16_t* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p));
}
inline Ints no_ints() { return _mm512_setzero_si512(); }
inline Wide load_wide(const int8_t* p) {  // 8 columns, 4 elements of K each
  return _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i*)p));
}
inline Wide spread_wide(const int8_t* p) {
  int four;
  __builtin_memcpy(&four, p, sizeof(four));
  return _mm512_cvtepi8_epi16(_mm256_set1_epi32(four));
}
inline Ints add_products(Ints acc, Wide a, Wide b) {
  return _mm512_add_epi32(acc, _mm512_madd_epi16(a, b));
}
inline void store_sums(const Ints* acc, float* out) {  // two lanes are one column
  const __m512i even =
      _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
  store(out, _mm512_cvtepi32_ps(_mm512_add_epi32(_mm512_permutex2var_epi32(acc[0], even, acc[1]),
                                                 _mm512_permutex2var_epi32(acc[0], odd, acc[1]))));
}
