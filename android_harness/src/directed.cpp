#include "directed.h"

#include <algorithm>
#include <sstream>
#include <string>
#include <vector>

#include "failure.h"

namespace mobilesplit {

namespace {

// Room for a series of hundreds of methods.
constexpr size_t kMaxLineBytes = 64 * 1024;
constexpr size_t kMaxWordBytes = 64;
constexpr char kStop[] = "stop";

std::string checked_word(const std::string& what, const std::string& text) {
  const auto allowed = [](unsigned char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           c == '_' || c == '.' || c == '-';
  };
  if (text.size() > kMaxWordBytes || !std::all_of(text.begin(), text.end(), allowed)) {
    throw StreamLost(what + " is a word of at most 64 letters, digits, '_', '.' and '-', not '" +
                     text.substr(0, 80) + "'");
  }
  return text;
}

StoppingRule parse_rule(const std::vector<std::string>& words) {
  return {parse_count("MIN_RUNS", words[0], 0, kManyRuns), parse_number("MIN_S", words[1]),
          parse_number("MAX_S", words[2])};
}

// Does what the line says; false where it is none that is known.
bool obey(const std::vector<std::string>& words, Bench& bench, InputStream& input) {
  const size_t count = words.size();
  const std::string verb = count == 0 ? "" : words[0];
  if (verb == kStop && count == 1) {
    return true;  // it came when its phase had just ended
  }
  if (verb == "load" && count == 3) {
    bench.load(checked_word("ID", words[1]), parse_series(words[2]));
  } else if (verb == "run" && count == 6) {
    const StoppingRule rule = parse_rule({words.begin() + 3, words.end()});
    bench.run(words[1], checked_word("PHASE", words[2]), rule,
              [&] { return input.take_line_if(kStop); });
  } else if (verb == "unload" && count == 2) {
    bench.unload(words[1]);
  } else {
    return false;
  }
  return true;
}

}  // namespace

void direct_bench(Bench& bench, InputStream& input) {
  while (const auto line = input.read_line(kMaxLineBytes)) {
    std::istringstream stream(*line);
    std::vector<std::string> words;
    for (std::string word; stream >> word;) {
      words.push_back(word);
    }
    if (words == std::vector<std::string>{"quit"}) {
      return;
    }
    if (!obey(words, bench, input)) {
      throw StreamLost("not a direction: '" + line->substr(0, 80) +
                       "'; expected: load ID SERIES, run ID PHASE MIN_RUNS MIN_S MAX_S, stop, "
                       "unload ID or quit");
    }
  }
}

}  // namespace mobilesplit
