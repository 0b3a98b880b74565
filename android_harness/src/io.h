// Bytes in and out by file descriptor: exact, and with no buffer that anybody must flush.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "json.h"

namespace mobilesplit {

// A piece of memory to write; it must outlive the call only.
struct Bytes {
  const void* data;
  size_t nbytes;
};

// Writes all pieces to standard output, together: over adb each separate write may cost a packet
// and its acknowledgement. Throws StreamLost.
void write_stdout(const std::vector<Bytes>& pieces);

// One event as a line on standard output.
void emit(const JsonObject& event);

// Fills `destination` from the file, whose size must be exactly `nbytes`. Throws Failure.
void read_file(const std::string& path, void* destination, size_t nbytes);

// Standard input as lines mixed with raw bytes.
class InputStream {
 public:
  explicit InputStream(int fd) : fd_(fd), buffer_(64 * 1024) {}

  // The next line without its newline; nullopt at a clean end of input.
  // Throws StreamLost for a line over `max_nbytes` and for an end within a line.
  std::optional<std::string> read_line(size_t max_nbytes);

  // Takes the next line if it has come and is `wanted`; leaves it otherwise. Never waits.
  bool take_line_if(std::string_view wanted);

  // Exactly `nbytes` into `destination`. Throws StreamLost when the input ends before.
  void read_exactly(void* destination, size_t nbytes);

  // Reads `nbytes` and drops them.
  void discard(size_t nbytes);

 private:
  // Refills the empty buffer; false at the end of input.
  bool refill();
  size_t read_some(void* destination, size_t nbytes);

  int fd_;
  std::vector<char> buffer_;
  size_t begin_ = 0;
  size_t end_ = 0;
};

}  // namespace mobilesplit
