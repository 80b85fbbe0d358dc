// Growing text, JSON and whole files, with nothing of the C++ library: the runner must start
// where only libc and libdl are.
#pragma once
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

namespace runner {

enum Exit : int { kOk = 0, kUsage = 2, kFile = 3, kLibrary = 4, kModel = 5 };

// Bytes that grow; freed at the end of its scope. Running out of memory ends the process.
struct Bytes {
  char* data = nullptr;
  size_t size = 0;
  Bytes() = default;
  Bytes(const Bytes&) = delete;
  Bytes& operator=(const Bytes&) = delete;
  ~Bytes() { free(data); }
  void add(const char* from, size_t count) {
    if (size + count + 1 > room_) {
      room_ = 2 * (size + count) + 64;
      data = static_cast<char*>(realloc(data, room_));
      if (!data) _exit(kFile);
    }
    if (count) memcpy(data + size, from, count);
    size += count;
    data[size] = 0;
  }
  void add(const char* text) { add(text, strlen(text)); }

 private:
  size_t room_ = 0;
};

// A JSON document: the caller opens and closes, the commas come by themselves.
struct Json : Bytes {
  void open(char bracket, const char* key = nullptr) {
    name(key);
    add(&bracket, 1);
    first_ = true;
  }
  void close(char bracket) {
    add(&bracket, 1);
    first_ = false;
  }
  void number(long long value, const char* key = nullptr) {
    char digits[32];
    name(key);
    add(digits, snprintf(digits, sizeof digits, "%lld", value));
  }
  void text(const char* value, const char* key = nullptr) {
    name(key);
    quote(value);
  }

 private:
  bool first_ = true;
  void name(const char* key) {
    if (!first_) add(",");
    first_ = false;
    if (!key) return;
    quote(key);
    add(":");
  }
  // Bytes that are not ASCII are written as U+FFFD: a device's files promise no encoding.
  void quote(const char* value) {
    add("\"");
    for (; *value; ++value) {
      const unsigned char byte = static_cast<unsigned char>(*value);
      char escaped[8];
      if (byte == '"' || byte == '\\') {
        const char pair[2] = {'\\', *value};
        add(pair, 2);
      } else if (byte < 0x20 || byte > 0x7e) {
        add(escaped, snprintf(escaped, sizeof escaped, "\\u%04x", byte < 0x80 ? byte : 0xfffd));
      } else {
        add(value, 1);
      }
    }
    add("\"");
  }
};

inline int fail(int code, const char* what, const char* which = "") {
  Bytes line;
  line.add("attnc-runner: ");
  line.add(what);
  line.add(which);
  line.add("\n");
  if (write(2, line.data, line.size) < 0) return code;
  return code;
}

// Appends all of a file; false if it cannot be read.
inline bool read_file(const char* path, Bytes& into) {
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return false;
  char block[65536];
  ssize_t count;
  while ((count = read(file, block, sizeof block)) > 0) into.add(block, count);
  close(file);
  return count == 0;
}

// False if not all of it could be written: the disk is full, or the folder is not there.
inline bool write_file(const char* path, const void* data, size_t size) {
  const int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (file < 0) return false;
  const char* from = static_cast<const char*>(data);
  while (size) {
    const ssize_t count = write(file, from, size);
    if (count <= 0) break;
    from += count;
    size -= count;
  }
  return close(file) == 0 && size == 0;
}

}  // namespace runner
