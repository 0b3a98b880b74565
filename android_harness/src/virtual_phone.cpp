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

namespace {

double parse_slowdown(const char* text, const char* where) {
  char* end = nullptr;
  const double slowdown = std::strtod(text, &end);
  const bool ends = *end == '\0' || (*end == '\n' && end[1] == '\0');
  if (end == text || !ends || !std::isfinite(slowdown) || slowdown < 1.0) {
    throw UsageFailure(std::string(where) + " must be a number >= 1, not " + text);
  }
  return slowdown;
}

}  // namespace

VirtualPhone::VirtualPhone() {
  if (const char* text = std::getenv("MOBILESPLIT_SLOWDOWN")) {
    slowdown_ = parse_slowdown(text, "MOBILESPLIT_SLOWDOWN");
  }
  slowdown_path_ = std::getenv("MOBILESPLIT_SLOWDOWN_FILE");
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

void VirtualPhone::look_up_slowdown() const {
  if (slowdown_path_ == nullptr) {
    return;
  }
  // Opened each time: whoever changes it puts a new file in its place.
  const int fd = open(slowdown_path_, O_RDONLY | O_CLOEXEC);
  char text[64] = {};
  const ssize_t nbytes = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
  const int error = errno;
  if (fd >= 0) {
    close(fd);
  }
  if (nbytes < 0) {
    throw Failure(std::string("cannot read the slow-down in ") + slowdown_path_ + ": " +
                  std::strerror(error));
  }
  slowdown_ = parse_slowdown(text, slowdown_path_);
}

double VirtualPhone::account(double host_ms) const {
  count();
  look_up_slowdown();
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
