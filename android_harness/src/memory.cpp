#include "memory.h"

#include <fcntl.h>
#include <malloc.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>

namespace mobilesplit {

bool reset_peak_rss() {
  const int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
  if (fd < 0) {
    return false;
  }
  const bool reset = write(fd, "5", 1) == 1;  // proc(5): 5 resets VmHWM
  close(fd);
  return reset;
}

int64_t peak_rss_bytes() {
  if (std::FILE* status = std::fopen("/proc/self/status", "re")) {
    char line[256];
    long long kib = 0;
    bool found = false;
    while (!found && std::fgets(line, sizeof line, status)) {
      found = std::sscanf(line, "VmHWM: %lld kB", &kib) == 1;
    }
    std::fclose(status);
    if (found) {
      return kib * 1024;
    }
  }
  struct rusage usage {};
  return getrusage(RUSAGE_SELF, &usage) == 0 ? int64_t{usage.ru_maxrss} * 1024 : 0;
}

void release_freed_memory() {
#if defined(__GLIBC__)
  malloc_trim(0);
#elif defined(M_PURGE)  // bionic, Android 9 and newer
  mallopt(M_PURGE, 0);
#endif
}

}  // namespace mobilesplit
