// The ways in which the runner gives up; main() turns them into an error event and an exit code.
#pragma once

#include <stdexcept>
#include <string>

namespace mobilesplit {

// The words by which the laptop tells failures apart; README.md says what each asks of the user.
inline constexpr char kProgramTooNew[] = "program_too_new";
inline constexpr char kMissingOperator[] = "missing_operator";
inline constexpr char kOutOfMemory[] = "out_of_memory";
inline constexpr char kBadProgram[] = "bad_program";
inline constexpr char kUsageCause[] = "usage";

// Something failed: exit code 1. In a session, a failure of a request is answered instead.
class Failure : public std::runtime_error {
 public:
  explicit Failure(const std::string& message, const char* cause = "")
      : std::runtime_error(message), cause_(cause) {}

  // One of the words above; empty where none of them fits.
  const char* cause() const { return cause_; }

 private:
  const char* cause_;
};

// The command line or the environment asks for something that cannot be: exit code 2.
class UsageFailure : public Failure {
 public:
  explicit UsageFailure(const std::string& message) : Failure(message, kUsageCause) {}
};

// Standard input ended or lost its framing, or standard output was closed: no session goes on.
class StreamLost : public Failure {
 public:
  using Failure::Failure;
};

}  // namespace mobilesplit
