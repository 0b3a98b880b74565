// What the kernel says of this process's memory.
#pragma once

#include <cstdint>

namespace mobilesplit {

// Starts a new peak. False where the kernel does not allow it (the peak is then the process's).
bool reset_peak_rss();

// Largest resident set in bytes since the last reset; 0 if the kernel says nothing.
int64_t peak_rss_bytes();

// Hands freed heap memory back, so that an unloaded head does not count against the next one.
void release_freed_memory();

}  // namespace mobilesplit
