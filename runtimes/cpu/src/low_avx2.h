// Halves (F16C, which every processor with AVX2 has) and bytes as 16-bit integers.
typedef __m256i Ints;
typedef __m256i Wide;
constexpr int kIntVecs = 4, kIntRows = 2;
inline V load_half(const uint16_t* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p));
}
inline Ints no_ints() { return _mm256_setzero_si256(); }
inline Wide load_wide(const int8_t* p) {  // 4 columns, 4 elements of K each
  return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i*)p));
}
inline Wide spread_wide(const int8_t* p) {
  int four;
  __builtin_memcpy(&four, p, sizeof(four));
  return _mm256_cvtepi8_epi16(_mm_set1_epi32(four));
}
inline Ints add_products(Ints acc, Wide a, Wide b) {
  return _mm256_add_epi32(acc, _mm256_madd_epi16(a, b));
}
inline void store_sums(const Ints* acc, float* out) {  // two lanes are one column
  for (int v = 0; v < 4; v += 2) {
    const __m256i sums = _mm256_hadd_epi32(acc[v], acc[v + 1]);  // columns 0 1 4 5 2 3 6 7
    store(out + v * 4, _mm256_cvtepi32_ps(_mm256_permute4x64_epi64(sums, 0xd8)));
  }
}
