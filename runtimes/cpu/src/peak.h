// The ceiling of this instruction set on this core: multiply-adds that touch no memory.

double peak(Int rounds, float* sink) {
  constexpr int N =
      W == 16 ? 24 : 12;  // independent chains: two units times the latency, with some to spare
  V acc[N];
  ATTNC_UNROLL
  for (int i = 0; i < N; ++i) acc[i] = set1((float)i);
  const V x = set1(0.9999f), y = set1(*sink);
  for (Int k = 0; k < rounds; k += 4) {
    ATTNC_UNROLL
    for (int u = 0; u < 4; ++u) ATTNC_UNROLL
    for (int i = 0; i < N; ++i) acc[i] = fma(acc[i], x, y);
  }
  V total = acc[0];
  ATTNC_UNROLL
  for (int i = 1; i < N; ++i) total = add(total, acc[i]);
  *sink = sum_lanes(total);
  return 2.0 * N * W * (double)rounds;
}
