#include "io.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "failure.h"

namespace mobilesplit {

namespace {

constexpr size_t kPiecesPerWrite = 64;  // far below IOV_MAX everywhere

}  // namespace

void write_stdout(const std::vector<Bytes>& pieces) {
  std::vector<iovec> pending;
  for (const Bytes& piece : pieces) {
    if (piece.nbytes > 0) {
      pending.push_back({const_cast<void*>(piece.data), piece.nbytes});
    }
  }
  size_t first = 0;
  while (first < pending.size()) {
    const size_t count = std::min(pending.size() - first, kPiecesPerWrite);
    const ssize_t result = writev(STDOUT_FILENO, &pending[first], static_cast<int>(count));
    if (result < 0) {
      if (errno == EINTR) {
        continue;
      }
      throw StreamLost(std::string("cannot write the output: ") + std::strerror(errno));
    }
    size_t written = static_cast<size_t>(result);
    while (first < pending.size() && written >= pending[first].iov_len) {
      written -= pending[first].iov_len;
      ++first;
    }
    if (written > 0) {
      pending[first].iov_base = static_cast<char*>(pending[first].iov_base) + written;
      pending[first].iov_len -= written;
    }
  }
}

void emit(const JsonObject& event) {
  const std::string line = event.line();
  write_stdout({{line.data(), line.size()}});
}

void read_file(const std::string& path, void* destination, size_t nbytes) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    throw Failure("cannot open " + path + ": " + std::strerror(errno));
  }
  struct stat status {};
  const bool known = fstat(fd, &status) == 0;
  size_t done = 0;
  if (known && static_cast<size_t>(status.st_size) == nbytes) {
    while (done < nbytes) {
      const ssize_t result = read(fd, static_cast<char*>(destination) + done, nbytes - done);
      if (result < 0 && errno == EINTR) {
        continue;
      }
      if (result <= 0) {
        break;
      }
      done += static_cast<size_t>(result);
    }
  }
  close(fd);
  if (known && static_cast<size_t>(status.st_size) != nbytes) {
    throw Failure(path + " has " + std::to_string(status.st_size) + " bytes, the input takes " +
                  std::to_string(nbytes));
  }
  if (done != nbytes) {
    throw Failure("cannot read " + path);
  }
}

size_t InputStream::read_some(void* destination, size_t nbytes) {
  while (true) {
    const ssize_t result = read(fd_, destination, nbytes);
    if (result >= 0) {
      return static_cast<size_t>(result);
    }
    if (errno != EINTR) {
      throw StreamLost(std::string("cannot read the input: ") + std::strerror(errno));
    }
  }
}

bool InputStream::refill() {
  begin_ = 0;
  end_ = read_some(buffer_.data(), buffer_.size());
  return end_ > 0;
}

std::optional<std::string> InputStream::read_line(size_t max_nbytes) {
  std::string line;
  while (true) {
    if (begin_ == end_ && !refill()) {
      if (line.empty()) {
        return std::nullopt;
      }
      throw StreamLost("the input ended in the middle of a line");
    }
    const char* start = buffer_.data() + begin_;
    const auto* newline = static_cast<const char*>(std::memchr(start, '\n', end_ - begin_));
    const size_t taken = newline ? static_cast<size_t>(newline - start) : end_ - begin_;
    if (line.size() + taken > max_nbytes) {
      throw StreamLost("a request line is longer than " + std::to_string(max_nbytes) + " bytes");
    }
    line.append(start, taken);
    begin_ += taken;
    if (newline) {
      ++begin_;
      return line;
    }
  }
}

bool InputStream::take_line_if(std::string_view wanted) {
  const auto newline = [this] { return std::find(&buffer_[begin_], &buffer_[0] + end_, '\n'); };
  if (newline() == &buffer_[0] + end_) {
    std::copy(&buffer_[begin_], &buffer_[0] + end_, &buffer_[0]);
    end_ -= begin_;
    begin_ = 0;
    struct pollfd there {fd_, POLLIN, 0};
    if (end_ < buffer_.size() && poll(&there, 1, 0) > 0) {
      end_ += read_some(&buffer_[end_], buffer_.size() - end_);
    }
  }
  const char* const line_end = newline();
  const size_t length = static_cast<size_t>(line_end - &buffer_[begin_]);
  if (line_end == &buffer_[0] + end_ || std::string_view(&buffer_[begin_], length) != wanted) {
    return false;
  }
  begin_ += length + 1;
  return true;
}

void InputStream::read_exactly(void* destination, size_t nbytes) {
  auto* target = static_cast<char*>(destination);
  size_t done = std::min(nbytes, end_ - begin_);
  std::memcpy(target, buffer_.data() + begin_, done);
  begin_ += done;
  while (done < nbytes) {
    const size_t count = read_some(target + done, nbytes - done);
    if (count == 0) {
      throw StreamLost("the input ended in the middle of a request: " +
                       std::to_string(nbytes - done) + " more bytes were announced");
    }
    done += count;
  }
}

void InputStream::discard(size_t nbytes) {
  char sink[16 * 1024];
  while (nbytes > 0) {
    const size_t count = std::min(nbytes, sizeof sink);
    read_exactly(sink, count);
    nbytes -= count;
  }
}

}  // namespace mobilesplit
