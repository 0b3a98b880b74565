// The ways in which the runner gives up; main() turns them into an error event and an exit code.
#pragma once

#include <stdexcept>
#include <string>

namespace mobilesplit {

// Something failed: exit code 1. In a session, a failure of a request is answered instead.
class Failure : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The command line or the environment asks for something that cannot be: exit code 2.
class UsageFailure : public Failure {
 public:
  using Failure::Failure;
};

// Standard input ended or lost its framing, or standard output was closed: no session goes on.
class StreamLost : public Failure {
 public:
  using Failure::Failure;
};

}  // namespace mobilesplit
