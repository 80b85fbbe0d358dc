#include "dispatch.h"

namespace attnc_plain {
const AttncKernels* table();
}
#if defined(__x86_64__)
namespace attnc_avx512 {
const AttncKernels* table(int has_vnni);
}
namespace attnc_avx2 {
const AttncKernels* table();
}
#elif defined(__aarch64__)
namespace attnc_neon {
const AttncKernels* table(int fp16, int dot);
}
#if !defined(__APPLE__)
extern "C" unsigned long getauxval(unsigned long type);
#endif
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

// Level 3: AVX-512 VNNI; 2: AVX-512 F, DQ, BW, VL; 1: AVX2, FMA and F16C; 0: none of them, or not
// enabled by the system.
int x86_level() {
  unsigned top[4], one[4], seven[4];
  cpuid(0, 0, top);
  cpuid(1, 0, one);
  const unsigned needed = 1u << 12 | 1u << 27 | 1u << 28 | 1u << 29;  // FMA, XSAVE, AVX, F16C
  if (top[0] < 7 || (one[2] & needed) != needed) return 0;
  unsigned low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  cpuid(7, 0, seven);
  if ((low & 6) != 6 || !(seven[1] & 1u << 5)) return 0;
  const unsigned f_dq_bw_vl = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;
  if ((low & 0xe6) != 0xe6 || (seven[1] & f_dq_bw_vl) != f_dq_bw_vl) return 1;
  return seven[2] & 1u << 11 ? 3 : 2;
}

#elif defined(__aarch64__)

// What Linux and Android say of half-precision arithmetic (1) and dot products (2); all of Apple's
// processors have both.
int arm_extensions() {
#if defined(__APPLE__)
  return 3;
#else
  const unsigned long has = getauxval(16);  // AT_HWCAP
  return (has >> 10 & 1) | (has >> 19 & 2);  // ASIMDHP is bit 10, ASIMDDP bit 20
#endif
}

#endif

}  // namespace

const AttncKernels* attnc_select(const char* wanted, const char** available) {
  const AttncKernels* found[5];
  int n = 0;
#if defined(__x86_64__)
  const int level = x86_level();
  if (level >= 3) found[n++] = attnc_avx512::table(1);
  if (level >= 2) found[n++] = attnc_avx512::table(0);
  if (level >= 1) found[n++] = attnc_avx2::table();
  const char* const names[] = {"plain", "avx2, plain", "avx512, avx2, plain",
                               "avx512+vnni, avx512, avx2, plain"};
  *available = names[level];
#elif defined(__aarch64__)
  const int has = arm_extensions();
  if (has == 3) found[n++] = attnc_neon::table(1, 1);
  if (has & 2) found[n++] = attnc_neon::table(0, 1);
  if (has & 1) found[n++] = attnc_neon::table(1, 0);
  found[n++] = attnc_neon::table(0, 0);
  const char* const names[] = {"neon, plain", "neon+fp16, neon, plain", "neon+dot, neon, plain",
                               "neon+fp16+dot, neon+dot, neon+fp16, neon, plain"};
  *available = names[has];
#else
  *available = "plain";
#endif
  found[n++] = attnc_plain::table();
  if (!wanted || !*wanted) return found[0];
  for (int i = 0; i < n; ++i)
    if (same(found[i]->isa, wanted)) return found[i];
  return nullptr;
}
