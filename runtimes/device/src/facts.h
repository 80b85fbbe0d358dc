// What the kernel tells of the device: temperatures, clocks, governors, memory. A file that is
// not there (no sensor, no right to read) leaves its value out.
#pragma once
#include "text.h"

namespace runner {

constexpr int kMostZones = 128, kMostCores = 64;

// The first line of a file whose name has a number in it; false if it cannot be read.
inline bool read_line(const char* pattern, int number, Bytes& line) {
  char path[128];
  snprintf(path, sizeof path, pattern, number);
  if (!read_file(path, line) || !line.size) return false;
  line.data[strcspn(line.data, "\n")] = 0;
  return true;
}

inline void zones(Json& json) {
  json.open('[', "thermal");
  for (int zone = 0; zone < kMostZones; ++zone) {
    Bytes kind, degrees;
    if (!read_line("/sys/class/thermal/thermal_zone%d/temp", zone, degrees)) continue;
    json.open('{');
    json.number(zone, "zone");
    if (read_line("/sys/class/thermal/thermal_zone%d/type", zone, kind))
      json.text(kind.data, "type");
    json.number(atoll(degrees.data), "millidegrees");
    json.close('}');
  }
  json.close(']');
}

inline void clocks(Json& json) {
  json.open('[', "clocks");
  for (int core = 0; core < kMostCores; ++core) {
    Bytes frequency, governor;
    if (!read_line("/sys/devices/system/cpu/cpu%d/cpufreq/scaling_cur_freq", core, frequency))
      continue;
    json.open('{');
    json.number(core, "cpu");
    json.number(atoll(frequency.data), "khz");
    if (read_line("/sys/devices/system/cpu/cpu%d/cpufreq/scaling_governor", core, governor))
      json.text(governor.data, "governor");
    json.close('}');
  }
  json.close(']');
}

inline void reading(Json& json, long long nanoseconds, const char* key = nullptr) {
  json.open('{', key);
  json.number(nanoseconds, "at_ns");
  zones(json);
  clocks(json);
  json.close('}');
}

// The number after a label in a file of /proc, in the file's unit; -1 if it is not there.
inline long long proc_number(const char* path, const char* label) {
  Bytes text;
  if (!read_file(path, text) || !text.size) return -1;
  const char* found = strstr(text.data, label);
  return found ? atoll(found + strlen(label)) : -1;
}

inline void memory(Json& json) {
  json.number(proc_number("/proc/self/status", "VmHWM:"), "peak_rss_kb");
  json.number(proc_number("/proc/meminfo", "MemTotal:"), "memory_kb");
  json.number(proc_number("/proc/meminfo", "MemAvailable:"), "available_kb");
}

inline void processor(Json& json) {
  Bytes text;
  json.text(read_file("/proc/cpuinfo", text) && text.size ? text.data : "", "cpuinfo");
}

}  // namespace runner
