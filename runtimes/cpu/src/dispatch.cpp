#include "dispatch.h"

#define ATTNC_DECLARE(isa)       \
  namespace attnc_##isa {        \
    const AttncKernels* table(); \
  }
ATTNC_DECLARE(plain)
#if defined(__x86_64__)
ATTNC_DECLARE(avx512)
ATTNC_DECLARE(avx2)
#elif defined(__aarch64__)
ATTNC_DECLARE(neon)
#endif

namespace {

bool same(const char* a, const char* b) {
  for (; *a && *a == *b; ++a, ++b) {
  }
  return *a == *b;
}

#if defined(__x86_64__)

void cpuid(unsigned leaf, unsigned sub, unsigned r[4]) {
  __asm__("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(leaf), "c"(sub));
}

// Level 2: AVX-512 F, DQ, BW, VL; 1: AVX2 and FMA; 0: neither, or not enabled by the system.
int x86_level() {
  unsigned top[4], one[4], seven[4];
  cpuid(0, 0, top);
  cpuid(1, 0, one);
  const unsigned fma_xsave_avx = 1u << 12 | 1u << 27 | 1u << 28;
  if (top[0] < 7 || (one[2] & fma_xsave_avx) != fma_xsave_avx) return 0;
  unsigned low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  cpuid(7, 0, seven);
  if ((low & 6) != 6 || !(seven[1] & 1u << 5)) return 0;
  const unsigned f_dq_bw_vl = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;
  return (low & 0xe6) == 0xe6 && (seven[1] & f_dq_bw_vl) == f_dq_bw_vl ? 2 : 1;
}

#endif

}  // namespace

const AttncKernels* attnc_select(const char* wanted, const char** available) {
  const AttncKernels* found[3];
  int n = 0;
  *available = "plain";
#if defined(__x86_64__)
  const int level = x86_level();
  if (level >= 2) found[n++] = attnc_avx512::table();
  if (level >= 1) found[n++] = attnc_avx2::table();
  *available = level == 2 ? "avx512, avx2, plain" : level == 1 ? "avx2, plain" : "plain";
#elif defined(__aarch64__)
  found[n++] = attnc_neon::table();
  *available = "neon, plain";
#endif
  found[n++] = attnc_plain::table();
  if (!wanted || !*wanted) return found[0];
  for (int i = 0; i < n; ++i)
    if (same(found[i]->isa, wanted)) return found[i];
  return nullptr;
}
