#include "virtual_phone.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>

#include "failure.h"

namespace mobilesplit {

VirtualPhone::VirtualPhone() {
  if (const char* text = std::getenv("MOBILESPLIT_SLOWDOWN")) {
    char* end = nullptr;
    slowdown_ = std::strtod(text, &end);
    if (end == text || *end != '\0' || !std::isfinite(slowdown_) || slowdown_ < 1.0) {
      throw UsageFailure(std::string("MOBILESPLIT_SLOWDOWN must be a number >= 1, not ") + text);
    }
  }
  if (const char* path = std::getenv("MOBILESPLIT_RUN_COUNTER")) {
    counter_fd_ = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (counter_fd_ < 0) {
      throw Failure(std::string("cannot open the run counter ") + path + ": " +
                    std::strerror(errno));
    }
  }
}

VirtualPhone::~VirtualPhone() {
  if (counter_fd_ >= 0) {
    close(counter_fd_);
  }
}

void VirtualPhone::count() const {
  if (counter_fd_ >= 0 && write(counter_fd_, ".", 1) != 1) {
    throw Failure(std::string("cannot write the run counter: ") + std::strerror(errno));
  }
}

double VirtualPhone::account(double host_ms) const {
  count();
  return stretch(host_ms);
}

double VirtualPhone::stretch(double host_ms) const {
  if (slowdown_ > 1.0) {
    std::this_thread::sleep_for(
        std::chrono::duration<double, std::milli>(host_ms * (slowdown_ - 1.0)));
  }
  return host_ms * slowdown_;
}

}  // namespace mobilesplit
