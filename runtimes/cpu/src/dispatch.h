// Which instruction set's kernels run on this machine.
#pragma once
#include "kernels.h"

// The table for `wanted` (avx512, avx2, neon, plain, or with extensions as in neon+dot), or the best
// one if it is null or empty. Null if the name is unknown or this processor lacks it; `available`
// then lists the names it has.
const AttncKernels* attnc_select(const char* wanted, const char** available);
