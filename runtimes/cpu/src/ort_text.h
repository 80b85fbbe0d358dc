// Error texts without a C++ library: a fixed buffer that is appended to and never overflows.
#pragma once
#include <stdint.h>

#include "ort_abi.h"

namespace ort {

struct Text {
  char data[512];
  int size = 0;

  Text& operator<<(const char* s) {
    for (; s && *s && size < (int)sizeof(data) - 1; ++s) data[size++] = *s;
    data[size] = 0;
    return *this;
  }

  Text& operator<<(int64_t v) {
    char digits[24];
    int n = 23;
    digits[n] = 0;
    const bool negative = v < 0;
    uint64_t u = negative ? 0 - (uint64_t)v : (uint64_t)v;
    do digits[--n] = (char)('0' + u % 10);
    while (u /= 10);
    if (negative) digits[--n] = '-';
    return *this << digits + n;
  }

  Text& shape(const int64_t* dims, size_t rank) {
    *this << "[";
    for (size_t i = 0; i < rank; ++i) *this << (i ? ", " : "") << dims[i];
    return *this << "]";
  }
};

inline OrtStatus* error(Table api, const Text& text, int code = kInvalidArgument) {
  return call<OrtStatus*>(api, kCreateStatus, code, (const char*)text.data);
}

// Drops a status; true if it was an error.
inline bool failed(Table api, OrtStatus* status) {
  if (!status) return false;
  call<void>(api, kReleaseStatus, status);
  return true;
}

}  // namespace ort
