// What runs as one: a method, and encoders on its outputs. Written METHOD[+ENCODER...].
#pragma once

#include <string>
#include <vector>

namespace mobilesplit {

struct Choice {
  std::string method;
  std::vector<std::string> encoders;
};

// The non-empty words between `separator`s. Throws UsageFailure: `what` "takes names ...".
std::vector<std::string> split_names(const std::string& what, const std::string& text,
                                     char separator);

// Throws UsageFailure for an empty name.
Choice parse_choice(const std::string& text);

}  // namespace mobilesplit
