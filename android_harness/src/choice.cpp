#include "choice.h"

#include <algorithm>

#include "failure.h"

namespace mobilesplit {

std::vector<std::string> split_names(const std::string& what, const std::string& text,
                                     char separator) {
  std::vector<std::string> names;
  size_t start = 0;
  while (start <= text.size()) {
    const size_t end = std::min(text.find(separator, start), text.size());
    names.push_back(text.substr(start, end - start));
    if (names.back().empty()) {
      throw UsageFailure(what + " takes names separated by '" + separator + "', not '" + text +
                         "'");
    }
    start = end + 1;
  }
  return names;
}

Choice parse_choice(const std::string& text) {
  std::vector<std::string> names = split_names("a method with encoders", text, '+');
  return {names.front(), {names.begin() + 1, names.end()}};
}

}  // namespace mobilesplit
