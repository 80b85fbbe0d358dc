// A slow-down on request, for trials of the regression gate. It exists in drill builds only
// (-DATTNC_DRILL); the library that is shipped has neither the code nor the names of the variables.
#pragma once
#ifdef ATTNC_DRILL

extern "C" {
struct DrillTime {
  long seconds, nanoseconds;
};
int clock_gettime(int, DrillTime*);
char* getenv(const char*);
}

namespace ort {

// From its making to its end a scope takes ATTNC_DRILL_SLOWER per mille longer than its work does;
// ATTNC_DRILL_OPERATOR names the one operator that is slowed down, all are without it.
class Drill {
 public:
  explicit Drill(const char* op) : per_mille_(wanted(op)), begin_(per_mille_ ? now() : 0) {}
  ~Drill() {
    if (!per_mille_) return;
    const long long worked = now() - begin_, end = begin_ + worked + worked * per_mille_ / 1000;
    while (now() < end) {
    }
  }
  Drill(const Drill&) = delete;
  Drill& operator=(const Drill&) = delete;

 private:
  static long long wanted(const char* op) {
    const char* only = getenv("ATTNC_DRILL_OPERATOR");
    for (int i = 0; only && *only; ++i) {
      if (only[i] != op[i]) return 0;
      if (!op[i]) break;
    }
    long long value = 0;
    const char* text = getenv("ATTNC_DRILL_SLOWER");
    for (; text && *text >= '0' && *text <= '9' && value < 100000; ++text)
      value = 10 * value + (*text - '0');
    return value;
  }

  static long long now() {
    DrillTime t = {0, 0};
#ifdef __APPLE__
    clock_gettime(6, &t);
#else
    clock_gettime(1, &t);
#endif
    return t.seconds * 1000000000LL + t.nanoseconds;
  }

  const long long per_mille_, begin_;
};

}  // namespace ort
#endif
