#include "affinity.h"

#include <sched.h>
#include <unistd.h>

#include <cctype>
#include <cerrno>
#include <cstring>

#include "failure.h"

namespace mobilesplit {

namespace {

constexpr size_t kBitsPerDigit = 4;

cpu_set_t parse(const std::string& mask) {
  const bool prefixed = mask.compare(0, 2, "0x") == 0 || mask.compare(0, 2, "0X") == 0;
  const std::string digits = prefixed ? mask.substr(2) : mask;
  cpu_set_t cores;
  CPU_ZERO(&cores);
  if (digits.empty() || digits.size() > CPU_SETSIZE / kBitsPerDigit) {
    throw UsageFailure("--core-mask takes a hexadecimal mask of cores, not '" + mask + "'");
  }
  for (size_t i = 0; i < digits.size(); ++i) {
    const char digit = digits[digits.size() - 1 - i];
    if (!std::isxdigit(static_cast<unsigned char>(digit))) {
      throw UsageFailure("--core-mask takes a hexadecimal mask of cores, not '" + mask + "'");
    }
    const int value = std::stoi(std::string(1, digit), nullptr, 16);
    for (size_t bit = 0; bit < kBitsPerDigit; ++bit) {
      if ((value >> bit) & 1) {
        CPU_SET(i * kBitsPerDigit + bit, &cores);
      }
    }
  }
  return cores;
}

std::string format(const cpu_set_t& cores) {
  std::string mask;
  for (size_t first = 0; first < CPU_SETSIZE; first += kBitsPerDigit) {
    int value = 0;
    for (size_t bit = 0; bit < kBitsPerDigit; ++bit) {
      value |= (CPU_ISSET(first + bit, &cores) ? 1 : 0) << bit;
    }
    mask.insert(mask.begin(), "0123456789abcdef"[value]);
  }
  return mask.substr(mask.find_first_not_of('0'));
}

}  // namespace

std::string hold_to_cores(const std::string& mask) {
  cpu_set_t cores = parse(mask);
  if (sched_setaffinity(0, sizeof cores, &cores) != 0) {
    if (errno == EINVAL) {  // sched_setaffinity(2): no core of the mask is there
      throw UsageFailure("no core of the mask " + mask + " can be used here; there are " +
                         std::to_string(sysconf(_SC_NPROCESSORS_CONF)) + " cores");
    }
    throw Failure("cannot hold the runner to the cores " + mask + ": " + std::strerror(errno));
  }
  if (sched_getaffinity(0, sizeof cores, &cores) != 0) {
    throw Failure(std::string("cannot read the cores of the runner: ") + std::strerror(errno));
  }
  return format(cores);
}

}  // namespace mobilesplit
