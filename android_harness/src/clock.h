// The steady clock that everything here is timed by.
#pragma once

#include <chrono>

namespace mobilesplit {

using Clock = std::chrono::steady_clock;

inline double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

}  // namespace mobilesplit
